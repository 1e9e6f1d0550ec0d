#include "server/batch_stage.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/feature_values.h"
#include "server/sender_hash.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kStagedMax = 4096;
constexpr int64_t kStagedBytesMax = 64 << 20;

}  // namespace

absl::Status BatchStage::ReadExample(const storage::LogRecord& record, Staged* staged,
                                     int64_t* bytes) const {
  if (!staged->example.ParseFromString(record.payload)) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid example"));
  }
  const int64_t values = ValueCount(staged->example.features());
  if (values != feature_count_) {
    return absl::DataLossError(absl::StrCat("log record ", record.sequence, ": expected ",
                                            feature_count_, " features, got ", values));
  }
  *bytes = static_cast<int64_t>(record.payload.size());
  return absl::OkStatus();
}

absl::Status BatchStage::ReadTombstone(const storage::LogRecord& record, Staged* staged,
                                       int64_t* bytes) const {
  internal::ErasedRecord erased;
  if (!erased.ParseFromString(record.payload)) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid tombstone"));
  }
  staged->example.Clear();
  staged->example.set_split(erased.split());
  staged->example.set_task(erased.task());
  *bytes = erased.payload_bytes();
  return absl::OkStatus();
}

absl::Status BatchStage::Add(const storage::LogRecord& record, const StreamState& state) {
  if (used_ == staged_.size()) staged_.emplace_back();
  Staged& staged = staged_[used_];
  staged.erased = record.kind == static_cast<uint8_t>(RecordKind::kErased);
  int64_t bytes = 0;
  ENGRAM_RETURN_IF_ERROR(staged.erased ? ReadTombstone(record, &staged, &bytes)
                                       : ReadExample(record, &staged, &bytes));
  staged.sequence = record.sequence;
  if (names_senders_) staged.sender = SenderOf(record);
  staged.held_out = state.IsHeldOut(staged.example.split(), record.sequence);
  ++used_;
  bytes_ += std::max(bytes, feature_count_ * static_cast<int64_t>(sizeof(float)));
  if (staged.held_out) return absl::OkStatus();
  ++train_rows_;
  if (staged.erased) ++erased_rows_;
  return absl::OkStatus();
}

uint64_t BatchStage::SenderOf(const storage::LogRecord& record) {
  if (record.producer != last_producer_) {
    last_producer_ = record.producer;
    last_sender_ = SenderHash(last_producer_);
  }
  return last_sender_;
}

bool BatchStage::CutDue(int64_t batch_size) const {
  if (used_ == 0) return false;
  return train_rows_ == 0 || train_rows_ >= batch_size || used_ >= kStagedMax ||
         bytes_ >= kStagedBytesMax;
}

strategies::BatchView BatchStage::Cut(StreamState* state, HeldOutSets* held_out) {
  const int64_t rows = train_rows_ - erased_rows_;
  features_.resize(rows * feature_count_);
  weights_.clear();
  classes_.clear();
  tasks_.clear();
  sequences_.clear();
  senders_.clear();
  bool weighted = false;
  for (size_t i = 0; i < used_; ++i) {
    const Staged& staged = staged_[i];
    const v1::Example& example = staged.example;
    if (staged.erased) {
      state->NameTask(example.task());
      continue;
    }
    const StreamState::ExampleRole role =
        state->ApplyExample(example.label(), example.task(), staged.held_out);
    if (staged.held_out) {
      held_out->Add(state->proto().tasks(role.task).name(), staged.sequence, example);
      continue;
    }
    CopyValues(example.features(), features_.data() + classes_.size() * feature_count_);
    classes_.push_back(role.class_index);
    tasks_.push_back(role.task);
    sequences_.push_back(staged.sequence);
    if (names_senders_) senders_.push_back(staged.sender);
    weights_.push_back(example.has_weight() ? example.weight() : 1.0f);
    weighted |= example.has_weight();
  }
  strategies::BatchView view;
  view.rows = rows;
  view.feature_count = feature_count_;
  view.features = features_;
  view.classes = classes_;
  view.tasks = tasks_;
  view.sequences = sequences_;
  view.senders = senders_;
  if (weighted) view.weights = weights_;
  return view;
}

void BatchStage::Clear() {
  used_ = 0;
  train_rows_ = 0;
  erased_rows_ = 0;
  bytes_ = 0;
}

}  // namespace engram::server
