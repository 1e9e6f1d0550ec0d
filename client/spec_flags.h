// Reads strategies and model specs from the text of flags, by the names in the proto files.
//
// A strategy is NAME or NAME:key=value,key=value with the field names of its message in
// strategy.proto, e.g. experience_replay:memory_size=500,policy=CLASS_BALANCED. A list is
// strategies joined by '+', outermost first: experience_replay+ewc:lambda=3. "replay" is short for
// experience_replay. Names come from protobuf reflection, so a new strategy needs no line here.
//
// Threading: free functions, safe from any thread.
// Ownership: nothing is kept.
// Failure: INVALID_ARGUMENT naming the word that is wrong and what could stand there.
// Bounds: none.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/model.pb.h"
#include "engram/v1/strategy.pb.h"
#include "google/protobuf/message.h"

namespace engram::client {

// One strategy.
absl::StatusOr<engram::v1::StrategySpec> ParseStrategy(absl::string_view text);

// One or more joined by '+'.
absl::StatusOr<std::vector<engram::v1::StrategySpec>> ParseStrategyList(absl::string_view text);

// The members of a list as they are written; nothing is checked.
std::vector<absl::string_view> SplitStrategyList(absl::string_view text);

// "experience_replay:memory_size=1000+ewc:lambda=3", the inverse of ParseStrategyList; "finetune"
// for an empty list.
std::string FormatStrategies(
    const google::protobuf::RepeatedPtrField<engram::v1::StrategySpec>& strategies);

// The name of every strategy this client can name, in field order.
std::vector<std::string> StrategyNames();

// Sets one scalar or enum field by name from its text.
absl::Status SetFieldFromText(absl::string_view name, absl::string_view text,
                              google::protobuf::Message* message);

// "sgd", "adam" or "adamw", with parameters: sgd:momentum=0.9. Leaves the learning rate alone.
absl::Status SetOptimizer(absl::string_view text, engram::v1::Optimizer* optimizer);

// "constant", "step", "cosine" or "plateau", with parameters: cosine:period_steps=2000,floor=0.1.
absl::Status SetSchedule(absl::string_view text, engram::v1::Schedule* schedule);

// "constant", "tasks", "task_share", "class_share", "step_decay" or "task_decay", with parameters:
// constant:warm_up_steps=500.
absl::Status SetPenaltySchedule(absl::string_view text, engram::v1::PenaltySchedule* schedule);

// Fields of the message: height=28,width=28,crop_padding=4,flip_horizontal=true.
absl::Status SetAugmentation(absl::string_view text, engram::v1::Augmentation* augmentation);

// "growing", "fixed" or "per_task".
absl::Status SetHead(absl::string_view text, engram::v1::Head* head);

// A ModelSpec in protobuf text form.
absl::StatusOr<engram::v1::ModelSpec> ReadSpecFile(const std::string& path);

}  // namespace engram::client
