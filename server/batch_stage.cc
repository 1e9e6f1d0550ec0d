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
  *bytes = static_cast<int64_t>(record.payload.size());
  return CheckFeatures(record, *staged);
}

absl::Status BatchStage::ReadRelease(const storage::LogRecord& record, Staged* staged,
                                     int64_t* bytes) const {
  internal::ReleasedExample released;
  if (!released.ParseFromString(record.payload) || released.sequence() == 0) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid release"));
  }
  staged->released = released.sequence();
  staged->example.Swap(released.mutable_example());
  *bytes = static_cast<int64_t>(record.payload.size());
  return CheckFeatures(record, *staged);
}

absl::Status BatchStage::CheckFeatures(const storage::LogRecord& record,
                                       const Staged& staged) const {
  const int64_t values = ValueCount(staged.example.features());
  if (values == feature_count_) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("log record ", record.sequence, ": expected ",
                                          feature_count_, " features, got ", values));
}

absl::Status BatchStage::ReadTombstone(const storage::LogRecord& record, const StreamState& state,
                                       Staged* staged, int64_t* bytes) const {
  internal::ErasedRecord erased;
  if (!erased.ParseFromString(record.payload)) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid tombstone"));
  }
  staged->example.Clear();
  staged->example.set_split(erased.split());
  staged->example.set_task(erased.task());
  *bytes = erased.payload_bytes();
  staged->held_out = !erased.released() && state.IsHeldOut(erased.split(), record.sequence);
  return absl::OkStatus();
}

absl::Status BatchStage::Read(const storage::LogRecord& record, const StreamState& state,
                              Staged* staged, int64_t* bytes) const {
  const auto kind = static_cast<RecordKind>(record.kind);
  staged->erased = kind == RecordKind::kErased;
  staged->released = 0;
  staged->held_out = false;
  if (staged->erased) return ReadTombstone(record, state, staged, bytes);
  if (kind == RecordKind::kReleased) return ReadRelease(record, staged, bytes);
  ENGRAM_RETURN_IF_ERROR(ReadExample(record, staged, bytes));
  staged->held_out = state.IsHeldOut(staged->example.split(), record.sequence);
  return absl::OkStatus();
}

absl::Status BatchStage::Add(const storage::LogRecord& record, const StreamState& state) {
  if (used_ == staged_.size()) staged_.emplace_back();
  Staged& staged = staged_[used_];
  int64_t bytes = 0;
  ENGRAM_RETURN_IF_ERROR(Read(record, state, &staged, &bytes));
  staged.sequence = record.sequence;
  if (names_senders_) staged.sender = SenderOf(record);
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
  released_.clear();
  weighted_ = false;
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
    released_.push_back(staged.released);
    weights_.push_back(example.has_weight() ? example.weight() : 1.0f);
    weighted_ |= example.has_weight();
  }
  return View();
}

strategies::BatchView BatchStage::View() const {
  strategies::BatchView view;
  view.rows = static_cast<int64_t>(classes_.size());
  view.feature_count = feature_count_;
  view.features = features_;
  view.classes = classes_;
  view.tasks = tasks_;
  view.sequences = sequences_;
  view.senders = senders_;
  if (weighted_) view.weights = weights_;
  return view;
}

strategies::BatchView BatchStage::Keep(const std::vector<bool>& kept) {
  size_t next = 0;
  for (size_t row = 0; row < kept.size(); ++row) {
    if (!kept[row]) continue;
    std::copy_n(features_.begin() + row * feature_count_, feature_count_,
                features_.begin() + next * feature_count_);
    weights_[next] = weights_[row];
    classes_[next] = classes_[row];
    tasks_[next] = tasks_[row];
    sequences_[next] = sequences_[row];
    released_[next] = released_[row];
    if (names_senders_) senders_[next] = senders_[row];
    ++next;
  }
  features_.resize(next * feature_count_);
  weights_.resize(next);
  classes_.resize(next);
  tasks_.resize(next);
  sequences_.resize(next);
  released_.resize(next);
  if (names_senders_) senders_.resize(next);
  return View();
}

void BatchStage::Clear() {
  used_ = 0;
  train_rows_ = 0;
  erased_rows_ = 0;
  bytes_ = 0;
}

}  // namespace engram::server
