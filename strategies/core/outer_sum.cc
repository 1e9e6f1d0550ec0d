#include "strategies/core/outer_sum.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

// Column panels of a triangular product: LibTorch has no symmetric rank update, and with eight of
// them 9/16 of the full product's work is left.
constexpr int64_t kPanels = 8;

// total += sign rows^T rows, lower triangle.
void AddRows(const at::Tensor& rows, double sign, const at::Tensor& total) {
  const int64_t width = total.size(0);
  const int64_t step = (width + kPanels - 1) / kPanels;
  for (int64_t begin = 0; begin < width; begin += step) {
    const int64_t count = std::min(step, width - begin);
    total.narrow(0, begin, width - begin)
        .narrow(1, begin, count)
        .addmm_(rows.narrow(1, begin, width - begin).t(), rows.narrow(1, begin, count), 1, sign);
  }
}

}  // namespace

OuterSum::OuterSum(int64_t width)
    : folded_(at::zeros({width, width}, at::kDouble)),
      block_(at::zeros({kBlockRows, width}, at::kDouble)) {}

double* OuterSum::NextRow() {
  if (waiting_ == kBlockRows) {
    AddRows(block_, 1, folded_);
    block_.zero_();
    waiting_ = 0;
  }
  return block_.data_ptr<double>() + waiting_++ * width();
}

void OuterSum::Subtract(const double* row) {
  AddRows(at::from_blob(const_cast<double*>(row), {1, width()}, at::kDouble), -1, folded_);
}

void OuterSum::Merge(const OuterSum& other) { folded_.add_(other.Total()); }

at::Tensor OuterSum::Total() const {
  at::Tensor total = folded_.clone();
  AddRows(block_.narrow(0, 0, waiting_), 1, total);
  return total;
}

void OuterSum::SaveState(StateWriter* writer) const {
  writer->PutTensor("outer_sum", folded_);
  writer->PutTensor("waiting_rows", block_);
  writer->PutInteger("waiting", waiting_);
}

absl::Status OuterSum::LoadState(const StateReader& reader) {
  ENGRAM_RETURN_IF_ERROR(reader.GetTensor("outer_sum", folded_));
  ENGRAM_RETURN_IF_ERROR(reader.GetTensor("waiting_rows", block_));
  ENGRAM_ASSIGN_OR_RETURN(waiting_, reader.GetInteger("waiting"));
  if (waiting_ < 0 || waiting_ > kBlockRows) {
    return absl::DataLossError(
        absl::StrCat("waiting: expected 0 to ", kBlockRows, ", found ", waiting_));
  }
  if (!at::isfinite(folded_).all().item<bool>() || !at::isfinite(block_).all().item<bool>()) {
    return absl::DataLossError("outer_sum: a value is not finite");
  }
  return absl::OkStatus();
}

at::Tensor SolveShrunk(const at::Tensor& total, double scale, double ridge,
                       const at::Tensor& right) {
  const double trace = scale * total.diagonal().sum().item<double>();
  for (double added = ridge;; added = std::max(10 * added, 1e-15 * trace)) {
    ENGRAM_CHECK(std::isfinite(added));
    at::Tensor matrix = total * scale;
    matrix.diagonal().add_(added);
    const auto [factor, failed] = at::linalg_cholesky_ex(matrix);
    if (failed.item<int>() == 0) return at::cholesky_solve(right, factor);
  }
}

}  // namespace engram::strategies
