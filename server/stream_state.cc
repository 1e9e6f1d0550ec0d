#include "server/stream_state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/sequence_hash.h"
#include "server/tune_state.h"

namespace engram::server {
namespace {

absl::Status BadRecord(absl::string_view kind, uint64_t sequence) {
  return absl::DataLossError(absl::StrCat("log record ", sequence, ": not a valid ", kind));
}

}  // namespace

StreamState StreamState::Fresh(const v1::ModelSpec& spec) {
  internal::StreamState proto;
  *proto.mutable_spec() = spec;
  *proto.mutable_labels() = spec.labels();
  proto.add_tasks()->set_name(spec.first_task());
  if (spec.has_tune()) OpenTune(&proto);
  return StreamState(std::move(proto));
}

absl::StatusOr<StreamState> StreamState::Parse(absl::string_view bytes) {
  internal::StreamState proto;
  if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      proto.tasks_size() == 0 || proto.current_task() < 0 ||
      proto.current_task() >= proto.tasks_size()) {
    return absl::DataLossError("stored stream state is not valid");
  }
  return StreamState(std::move(proto));
}

StreamState::StreamState(internal::StreamState proto) : proto_(std::move(proto)) { Index(); }

void StreamState::Index() {
  number_classes_.clear();
  text_classes_.clear();
  task_columns_.clear();
  for (int i = 0; i < proto_.labels_size(); ++i) IndexLabel(proto_.labels(i), i);
  task_classes_.clear();
  for (int i = 0; i < proto_.tasks_size(); ++i) {
    task_columns_[proto_.tasks(i).name()] = i;
    for (int32_t index : proto_.tasks(i).classes()) task_classes_.emplace(i, index);
  }
  ++view_revision_;
}

void StreamState::IndexLabel(const v1::Label& label, int32_t index) {
  if (label.has_number()) {
    number_classes_[label.number()] = index;
  } else {
    text_classes_[label.text()] = index;
  }
}

bool StreamState::IsHeldOut(v1::Split split, uint64_t sequence) const {
  return split == v1::HELD_OUT ||
         DrawHeldOut(spec().seed(), sequence, spec().held_out_fraction());
}

int32_t StreamState::FindClass(const v1::Label& label) const {
  if (label.has_number()) {
    auto it = number_classes_.find(label.number());
    return it == number_classes_.end() ? -1 : it->second;
  }
  auto it = text_classes_.find(label.text());
  return it == text_classes_.end() ? -1 : it->second;
}

int32_t StreamState::FindTask(absl::string_view name) const {
  if (name.empty()) return proto_.current_task();
  auto it = task_columns_.find(name);
  return it == task_columns_.end() ? -1 : it->second;
}

std::string StreamState::DefaultNextTask() const {
  return absl::StrCat("task-", proto_.boundaries() + 2);
}

int32_t StreamState::TaskColumn(absl::string_view name) {
  const int32_t known = FindTask(name);
  if (known >= 0) return known;
  const int32_t column = proto_.tasks_size();
  proto_.add_tasks()->set_name(std::string(name));
  task_columns_[std::string(name)] = column;
  ++view_revision_;
  return column;
}

StreamState::ExampleRole StreamState::ApplyExample(const v1::Label& label, absl::string_view task,
                                                   bool held_out) {
  ExampleRole role;
  role.task = TaskColumn(task);
  if (held_out) return role;
  role.class_index = FindClass(label);
  if (role.class_index < 0) {
    role.class_index = proto_.labels_size();
    *proto_.add_labels() = label;
    IndexLabel(label, role.class_index);
    ++view_revision_;
  }
  internal::StreamState::Task* column = proto_.mutable_tasks(role.task);
  column->set_train_examples(column->train_examples() + 1);
  if (task_classes_.emplace(role.task, role.class_index).second) {
    column->add_classes(role.class_index);
  }
  proto_.set_train_examples(proto_.train_examples() + 1);
  proto_.set_examples_in_current_task(proto_.examples_in_current_task() + 1);
  return role;
}

StreamState::ExampleRole StreamState::ApplyReleased(const internal::ReleasedExample& record,
                                                    uint64_t sequence) {
  releases_[record.sequence()] = sequence;
  return ApplyExample(record.example().label(), record.example().task(), /*held_out=*/false);
}

uint64_t StreamState::ReleasedAs(uint64_t sequence) const {
  const auto it = releases_.find(sequence);
  return it == releases_.end() ? 0 : it->second;
}

void StreamState::ForgetReleases(uint64_t through) {
  absl::erase_if(releases_, [through](const auto& each) { return each.second <= through; });
}

StreamState::BoundaryRole StreamState::ApplyBoundary(const internal::BoundaryRecord& record) {
  BoundaryRole role;
  role.ended_task = proto_.current_task();
  proto_.mutable_tasks(role.ended_task)->set_ended(true);
  role.next_task = TaskColumn(record.next_task());
  proto_.set_current_task(role.next_task);
  if (role.next_task != role.ended_task) ++view_revision_;
  proto_.set_examples_in_current_task(0);
  proto_.set_boundaries(proto_.boundaries() + 1);
  if (record.source() == internal::BoundaryRecord::DRIFT) {
    proto_.set_boundaries_from_drift(proto_.boundaries_from_drift() + 1);
  }
  return role;
}

void StreamState::ApplyConfiguration(const internal::ConfigurationRecord& record) {
  const bool had_tune = TuneIsOpen();
  *proto_.mutable_spec() = record.spec();
  if (had_tune && !TuneIsOpen()) CloseTune(record.candidate(), &proto_);
  if (!had_tune && TuneIsOpen()) OpenTune(&proto_);
}

void StreamState::ApplyRollback(const internal::RollbackRecord& record) {
  proto_ = record.stream_state();
  releases_.clear();
  Index();
}

absl::Status StreamState::Apply(RecordKind kind, absl::string_view payload, uint64_t sequence) {
  const int size = static_cast<int>(payload.size());
  switch (kind) {
    case RecordKind::kExample: {
      v1::Example example;
      if (!example.ParseFromArray(payload.data(), size)) return BadRecord("example", sequence);
      ApplyExample(example.label(), example.task(), IsHeldOut(example.split(), sequence));
      return absl::OkStatus();
    }
    case RecordKind::kBoundary: {
      internal::BoundaryRecord record;
      if (!record.ParseFromArray(payload.data(), size)) return BadRecord("boundary", sequence);
      ApplyBoundary(record);
      return absl::OkStatus();
    }
    case RecordKind::kFlush:
      return absl::OkStatus();
    case RecordKind::kRollback: {
      internal::RollbackRecord record;
      if (!record.ParseFromArray(payload.data(), size)) return BadRecord("rollback", sequence);
      ApplyRollback(record);
      return absl::OkStatus();
    }
    case RecordKind::kConfiguration: {
      internal::ConfigurationRecord record;
      if (!record.ParseFromArray(payload.data(), size)) return BadRecord("configuration", sequence);
      ApplyConfiguration(record);
      return absl::OkStatus();
    }
    case RecordKind::kErased: {
      internal::ErasedRecord record;
      if (!record.ParseFromArray(payload.data(), size)) return BadRecord("tombstone", sequence);
      NameTask(record.task());
      return absl::OkStatus();
    }
    case RecordKind::kReleased: {
      internal::ReleasedExample record;
      if (!record.ParseFromArray(payload.data(), size)) return BadRecord("release", sequence);
      ApplyReleased(record, sequence);
      return absl::OkStatus();
    }
  }
  return BadRecord(absl::StrCat("record kind ", static_cast<int>(kind)), sequence);
}

StreamState StreamState::RolledBackTo(const StreamState& checkpoint, uint64_t restored_sequence,
                                      uint64_t record) const {
  internal::StreamState proto = checkpoint.proto_;
  // Columns are only ever appended, so the checkpoint's are the first of ours.
  for (int i = proto.tasks_size(); i < proto_.tasks_size(); ++i) {
    proto.add_tasks()->set_name(proto_.tasks(i).name());
  }
  *proto.mutable_rewinds() = proto_.rewinds();
  proto.set_tunes(std::max(proto.tunes(), proto_.tunes()));
  internal::StreamState::Rewind* rewind = proto.add_rewinds();
  rewind->set_record(record);
  rewind->set_restored(restored_sequence);
  rewind->set_train_examples(checkpoint.proto_.train_examples());
  return StreamState(std::move(proto));
}

StepCounters StreamState::Counters() const {
  StepCounters counters;
  counters.prequential_correct = proto_.prequential_correct();
  counters.prequential_weight = proto_.prequential_weight();
  counters.prequential_examples = proto_.prequential_examples();
  counters.prequential_hits = proto_.prequential_hits();
  counters.steps = proto_.steps();
  counters.skipped_batches = proto_.skipped_batches();
  return counters;
}

void StreamState::SetCounters(const StepCounters& counters) {
  proto_.set_prequential_correct(counters.prequential_correct);
  proto_.set_prequential_weight(counters.prequential_weight);
  proto_.set_prequential_examples(counters.prequential_examples);
  proto_.set_prequential_hits(counters.prequential_hits);
  proto_.set_steps(counters.steps);
  proto_.set_skipped_batches(counters.skipped_batches);
}

std::shared_ptr<const StreamView> StreamState::View() const {
  auto view = std::make_shared<StreamView>();
  view->labels.assign(proto_.labels().begin(), proto_.labels().end());
  view->tasks.reserve(proto_.tasks_size());
  for (const auto& task : proto_.tasks()) view->tasks.push_back(task.name());
  view->task_index = task_columns_;
  view->current_task = proto_.current_task();
  return view;
}

}  // namespace engram::server
