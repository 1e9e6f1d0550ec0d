#include "tests/crash/final_state.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/message_plan.h"
#include "tests/testing/process/stubs.h"

namespace engram::crash {
namespace {

using testing::Call;
using testing::Stubs;

absl::Status ToStatus(const grpc::Status& status, const std::string& what) {
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(what, ": ", status.error_code(), " ", status.error_message()));
}

// A partial batch is closed by a flush record a moment later: the log's end must stand still.
absl::StatusOr<uint64_t> WaitForTheEnd(const Stubs& stubs, const std::string& model) {
  uint64_t last = 0;
  for (int turn = 0; turn < 200; ++turn) {
    v1::WaitAppliedRequest wait;
    wait.set_model(model);
    const auto waited =
        Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait, absl::Seconds(60));
    ENGRAM_RETURN_IF_ERROR(ToStatus(waited.status, "WaitApplied"));
    v1::GetModelRequest get;
    get.set_name(model);
    const auto found = Call(*stubs.models, &v1::Models::Stub::GetModel, get);
    ENGRAM_RETURN_IF_ERROR(ToStatus(found.status, "GetModel"));
    if (found->version() == found->durable_sequence() && found->version() == last) return last;
    last = found->durable_sequence();
    absl::SleepFor(absl::Milliseconds(250));
  }
  return absl::DeadlineExceededError(absl::StrCat(model, ": the log does not come to rest"));
}

v1::ModelSpec BaseSpec() {
  v1::ModelSpec spec;
  spec.set_feature_count(kFeatureCount);
  spec.mutable_mlp()->add_hidden(32);
  spec.set_seed(11);
  spec.set_evaluate_every_examples(700);
  return spec;
}

}  // namespace

std::map<std::string, v1::ModelSpec> CrashModels() {
  v1::ModelSpec plain = BaseSpec();
  plain.mutable_optimizer()->mutable_sgd()->set_momentum(0.9);
  plain.mutable_optimizer()->set_learning_rate(0.01);
  v1::ModelSpec protected_spec = BaseSpec();
  protected_spec.set_held_out_fraction(0);
  auto* replay = protected_spec.add_strategies()->mutable_experience_replay();
  replay->set_memory_size(200);
  auto* ewc = protected_spec.add_strategies()->mutable_ewc();
  ewc->set_lambda(1);
  ewc->set_fisher_examples(100);
  return {{"plain", plain}, {"replay-ewc", protected_spec}};
}

absl::Status CreateModels(const testing::ServerProcess& server) {
  const Stubs stubs(server.NewChannel());
  for (const auto& [name, spec] : CrashModels()) {
    v1::CreateModelRequest request;
    request.set_name(name);
    *request.mutable_spec() = spec;
    const auto created = Call(*stubs.models, &v1::Models::Stub::CreateModel, request);
    ENGRAM_RETURN_IF_ERROR(ToStatus(created.status, "CreateModel"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, v1::Checkpoint>> CheckpointTheEnd(
    const testing::ServerProcess& server) {
  const Stubs stubs(server.NewChannel());
  std::map<std::string, v1::Checkpoint> checkpoints;
  for (const auto& [name, spec] : CrashModels()) {
    ENGRAM_ASSIGN_OR_RETURN(const uint64_t end, WaitForTheEnd(stubs, name));
    v1::CreateCheckpointRequest request;
    request.set_model(name);
    request.set_min_applied_sequence(end);
    const auto created =
        Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request);
    ENGRAM_RETURN_IF_ERROR(ToStatus(created.status, "CreateCheckpoint"));
    if (created->applied_sequence() != end) {
      return absl::InternalError(
          absl::StrCat("checkpoint at ", created->applied_sequence(), ", the log ends at ", end));
    }
    checkpoints[name] = created.reply;
  }
  return checkpoints;
}

}  // namespace engram::crash
