#include "strategies/core/frozen_copy.h"

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {

FrozenCopy::FrozenCopy(ParameterArena* arena, const std::string& name)
    : arena_(arena),
      parameters_(arena->AddCompanion(name + ".frozen", ParameterArena::Persistence::kSaved)) {}

void FrozenCopy::Take(const Network& network) {
  arena_->Companion(parameters_).copy_(arena_->flat());
  units_ = network.units();
}

const at::Tensor& FrozenCopy::Forward(const Network& network, const at::Tensor& features) {
  ENGRAM_CHECK(taken());
  if (pass_ == nullptr || bound_generation_ != arena_->generation() ||
      bound_units_ != network.units()) {
    pass_ = network.Bind(arena_->Companion(parameters_));
    bound_generation_ = arena_->generation();
    bound_units_ = network.units();
  }
  const int64_t rows = features.size(0);
  if (!logits_.defined() || logits_.size(0) != rows || logits_.size(1) != bound_units_) {
    logits_ = at::empty({rows, bound_units_}, at::kFloat);
  }
  pass_->Run(features.data_ptr<float>(), rows, {}, &scratch_, logits_.data_ptr<float>());
  return logits_;
}

void FrozenCopy::SaveState(StateWriter* writer) const {
  writer->PutInteger("frozen_units", units_);
}

absl::Status FrozenCopy::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(const int64_t units, reader.GetInteger("frozen_units"));
  if (units < 0) {
    return absl::DataLossError(absl::StrCat("frozen_units: expected >= 0, found ", units));
  }
  units_ = units;
  pass_ = nullptr;
  return absl::OkStatus();
}

}  // namespace engram::strategies
