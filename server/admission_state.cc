// The checks of a message against the state of the stream at the log's head.
#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/admission.h"
#include "server/errors.h"

namespace engram::server {
namespace {

constexpr std::chrono::milliseconds kNever{0};

absl::string_view KindName(const v1::Label& label) {
  return label.has_number() ? "a number" : "a text";
}

std::string Show(const v1::Label& label) {
  return label.has_number() ? absl::StrCat(label.number())
                            : absl::StrCat("\"", Echo(label.text()), "\"");
}

std::string LabelField(int index) { return absl::StrCat("examples[", index, "].label"); }

absl::Status TaskLimit(int64_t limit, absl::string_view model) {
  return OverLimit("tasks",
                   absl::StrCat("task limit ", limit, " (model \"", model,
                                "\"): go on with a task seen before, or raise limits.tasks"),
                   kNever);
}

}  // namespace

absl::Status Admission::CheckState(const v1::LearnMessage& message) const {
  return message.has_boundary() ? CheckBoundary(message.boundary()) : CheckExamples(message);
}

absl::Status Admission::CheckLabel(const v1::Label& label, int index,
                                   const v1::Label& first_new) const {
  const auto& labels = head_.proto().labels();
  const v1::Label& kind = labels.empty() ? first_new : labels[0];
  if (label.kind_case() != kind.kind_case()) {
    return BadField(LabelField(index), absl::StrCat("expected ", KindName(kind), " (model \"",
                                                    options_.model, "\"), got ", KindName(label)));
  }
  if (head_.spec().head().kind() != v1::Head::FIXED || head_.FindClass(label) >= 0) {
    return absl::OkStatus();
  }
  return BadField(LabelField(index),
                  absl::StrCat(Show(label), " is not among the ", labels.size(),
                               " labels of model \"", options_.model, "\" (", Show(labels[0]),
                               " ... ", Show(labels[labels.size() - 1]), ")"));
}

absl::Status Admission::CheckTask(const v1::Example& example, int index, bool held_out) const {
  if (example.task().empty() || held_out || interleaved_ ||
      head_.FindTask(example.task()) == head_.proto().current_task()) {
    return absl::OkStatus();
  }
  return WrongState("TASK", example.task(),
                    absl::StrCat("examples[", index, "].task: expected the current task \"",
                                 head_.current_task().name(), "\", got \"", example.task(),
                                 "\" (the strategies of model \"", options_.model,
                                 "\" learn one task at a time)"));
}

absl::Status Admission::CheckExamples(const v1::LearnMessage& message) const {
  const uint64_t first = log_->AssignedSequence(options_.uid) + 1;
  std::set<std::string> new_labels;
  std::set<absl::string_view> new_tasks;
  for (int i = 0; i < message.examples_size(); ++i) {
    const v1::Example& example = message.examples(i);
    absl::Status status = CheckLabel(example.label(), i, message.examples(0).label());
    if (status.ok()) status = CheckTask(example, i, example.split() == v1::HELD_OUT);
    if (!status.ok()) return status;
    if (head_.FindTask(example.task()) < 0) new_tasks.insert(example.task());
    if (head_.IsHeldOut(example.split(), first + i) || head_.FindClass(example.label()) >= 0) {
      continue;
    }
    new_labels.insert(example.label().SerializeAsString());
    const int64_t classes = head_.proto().labels_size() + static_cast<int64_t>(new_labels.size());
    if (classes > head_.spec().max_classes()) {
      return OverLimit("classes",
                       absl::StrCat(LabelField(i), ": class ", classes, " exceeds max_classes ",
                                    head_.spec().max_classes(), " (model \"", options_.model,
                                    "\")"),
                       kNever);
    }
  }
  if (head_.proto().tasks_size() + static_cast<int64_t>(new_tasks.size()) >
      options_.limits->tasks()) {
    return TaskLimit(options_.limits->tasks(), options_.model);
  }
  return absl::OkStatus();
}

absl::Status Admission::CheckBoundary(const v1::Boundary& boundary) const {
  const std::string& current = head_.current_task().name();
  const int64_t learned = head_.proto().examples_in_current_task();
  const int64_t least = std::max<int64_t>(head_.spec().min_task_examples(), 1);
  if (learned < least) {
    return WrongState("TASK", current,
                      absl::StrCat("task \"", current, "\" has ", learned,
                                   " examples to learn from since the last boundary; expected at "
                                   "least ", least, " (min_task_examples of model \"",
                                   options_.model, "\"): learn more of it first"));
  }
  const std::string next =
      boundary.next_task().empty() ? head_.DefaultNextTask() : boundary.next_task();
  if (head_.FindTask(next) < 0 && head_.proto().tasks_size() >= options_.limits->tasks()) {
    return TaskLimit(options_.limits->tasks(), options_.model);
  }
  return absl::OkStatus();
}

}  // namespace engram::server
