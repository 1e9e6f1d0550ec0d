#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/variant.h"
#include "engram/v1/admin.grpc.pb.h"
#include "server/limit_list.h"
#include "server/services.h"
#include "server/unary_call.h"
#include "strategies/api/options.h"

namespace engram::server {
namespace {

using v1::Admin;
using RawAdmin = Admin::WithRawCallbackMethod_GetServerInfo<
    Admin::WithRawCallbackMethod_ListStrategies<Admin::WithRawCallbackMethod_GetLimits<
        Admin::WithRawCallbackMethod_ReloadConfig<Admin::WithRawCallbackMethod_AcknowledgeLoss<
            Admin::WithRawCallbackMethod_ListAudit<Admin::WithRawCallbackMethod_CreateBackup<
                Admin::WithRawCallbackMethod_ListQuarantined<
                    Admin::WithRawCallbackMethod_ReleaseQuarantined<
                        Admin::WithRawCallbackMethod_ListRejected<
                            Admin::WithRawCallbackMethod_Blame<Admin::Service>>>>>>>>>>>;

constexpr int kAuditEntries = 100;
constexpr int kAuditEntriesMax = 1000;
constexpr std::chrono::milliseconds kRetryBlame{1000};

std::string ValueText(const strategies::ParameterValue& value) {
  if (const bool* truth = absl::get_if<bool>(&value)) return *truth ? "true" : "false";
  if (const auto* integer = absl::get_if<int64_t>(&value)) return absl::StrCat(*integer);
  if (const auto* number = absl::get_if<double>(&value)) return absl::StrCat(*number);
  return absl::get<std::string>(value);
}

std::string KindText(strategies::ParameterKind kind) {
  switch (kind) {
    case strategies::ParameterKind::kBool:
      return "bool";
    case strategies::ParameterKind::kInteger:
      return "integer";
    case strategies::ParameterKind::kNumber:
      return "number";
    case strategies::ParameterKind::kChoice:
      return "choice";
  }
  return "";
}

std::string RangeText(const strategies::ParameterHelp& help) {
  switch (help.kind) {
    case strategies::ParameterKind::kBool:
      return "true or false";
    case strategies::ParameterKind::kChoice:
      return absl::StrJoin(help.choices, " | ");
    default:
      return absl::StrCat("[", help.min, ", ", help.max, "]");
  }
}

v1::StrategyDescription DescribeStrategy(const strategies::StrategyHelp& help) {
  v1::StrategyDescription description;
  description.set_name(help.name);
  description.set_family(help.family);
  description.set_paper(help.paper);
  description.set_idea(help.idea);
  description.set_memory(help.memory);
  description.set_time(help.time);
  description.set_when(help.when);
  for (const auto& each : help.parameters) {
    v1::StrategyParameter* parameter = description.add_parameters();
    parameter->set_name(each.name);
    parameter->set_kind(KindText(each.kind));
    parameter->set_default_value(ValueText(each.default_value));
    parameter->set_range(RangeText(each));
    parameter->set_live(each.live);
    parameter->set_help(each.help);
  }
  return description;
}

v1::GetLimitsResponse DescribeLimits(const Edge& edge) {
  v1::GetLimitsResponse response;
  auto add = [&response](absl::string_view name, const absl::AlphaNum& value,
                         absl::string_view help) {
    v1::Limit* limit = response.add_limits();
    limit->set_name(std::string(name));
    limit->set_value(std::string(value.Piece()));
    limit->set_help(std::string(help));
  };
  const std::shared_ptr<const v1::ServerConfig> config = CurrentConfig(edge);
  const v1::Limits& limits = config->limits();
  add("message_bytes", limits.message_bytes(), "largest request or reply");
  add("examples_per_message", limits.examples_per_message(), "of Learn, LearnBatch and Predict");
  add("features", limits.features(), "most values of an example");
  add("tasks", limits.tasks(), "a model");
  add("producers", limits.producers(), "a model; idle ones expire");
  add("queue_bytes", limits.queue_bytes(), "waiting for the log; beyond it RESOURCE_EXHAUSTED");
  add("checkpoints", limits.checkpoints(), "kept a model");
  add("disk_reserve_bytes", limits.disk_reserve_bytes(), "learning is refused below this");
  add("models", limits.models(), "a server");
  add("weights_bytes", limits.weights_bytes(), "of a file that a model is started from");
  const v1::Retention& retention = config->retention();
  add("log_seconds", retention.log_seconds(), "the log is kept this long or this large");
  add("log_bytes", retention.log_bytes(), "the log is kept this long or this large");
  add("producer_idle_seconds", retention.producer_idle_seconds(), "then a producer is forgotten");
  add("trainer_threads", config->trainer_threads(), "serial strands that train");
  add("compute_threads", config->compute_threads(), "of the BLAS and LibTorch");
  add("live_evaluation_share", config->live_evaluation_share(), "of the trainer's time");
  if (config->has_backups()) {
    add("backups_kept", config->backups().kept(), "the oldest go when a new one is whole");
  }
  AddEdgeLimits(edge, &response);
  return response;
}

class AdminService final : public RawAdmin {
 public:
  explicit AdminService(const Edge& edge) : edge_(edge) {}

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* bytes,
                                          grpc::ByteBuffer* reply) override {
    return AnswerNow<v1::GetServerInfoRequest>(
        edge_, Rpc::kGetServerInfo, context, bytes, reply,
        [this](const v1::GetServerInfoRequest&,
               const Identity& caller) -> absl::StatusOr<v1::ServerInfo> {
          v1::ServerInfo facts = edge_.fixed_info;
          const storage::StoreStatistics store = edge_.host->store().Statistics();
          facts.set_disk_free_bytes(store.disk_free_bytes);
          facts.set_disk_total_bytes(store.disk_total_bytes);
          facts.set_uptime_seconds(absl::ToDoubleSeconds(SteadyNow() - edge_.started));
          facts.set_models(static_cast<int32_t>(edge_.host->List().size()));
          facts.set_read_only_reason(edge_.host->ReadOnlyReason());
          facts.set_role(std::string(RoleName(caller.role)));
          return facts;
        });
  }

  grpc::ServerUnaryReactor* ListStrategies(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* bytes,
                                           grpc::ByteBuffer* reply) override {
    return AnswerNow<v1::ListStrategiesRequest>(
        edge_, Rpc::kListStrategies, context, bytes, reply,
        [this](const v1::ListStrategiesRequest&) -> absl::StatusOr<v1::ListStrategiesResponse> {
          v1::ListStrategiesResponse response;
          for (const auto& help : *edge_.strategies) {
            *response.add_strategies() = DescribeStrategy(help);
          }
          return response;
        });
  }

  grpc::ServerUnaryReactor* GetLimits(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* bytes,
                                      grpc::ByteBuffer* reply) override {
    return AnswerNow<v1::GetLimitsRequest>(
        edge_, Rpc::kGetLimits, context, bytes, reply,
        [this](const v1::GetLimitsRequest&) -> absl::StatusOr<v1::GetLimitsResponse> {
          return DescribeLimits(edge_);
        });
  }

  grpc::ServerUnaryReactor* CreateBackup(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* bytes,
                                         grpc::ByteBuffer* reply) override {
    return AnswerLater<v1::CreateBackupRequest>(
        edge_, Rpc::kCreateBackup, context, UnaryCall::OnDrain::kAbandon, bytes, reply,
        [this](const v1::CreateBackupRequest& request, const std::shared_ptr<UnaryCall>& call) {
          if (edge_.backups == nullptr) {
            call->Finish(WrongState("backup", request.name(),
                                    "this server has no folder for backups; set backups.folder "
                                    "in its config"));
            return;
          }
          edge_.backups->Create(request.name(), [call](const absl::StatusOr<v1::Backup>& made) {
            call->Finish(made);
          });
        });
  }

  grpc::ServerUnaryReactor* ReloadConfig(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* bytes,
                                         grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::ReloadConfigRequest>(
        edge_, Rpc::kReloadConfig, context, bytes, reply,
        [this](const v1::ReloadConfigRequest&) -> absl::StatusOr<v1::ReloadConfigResponse> {
          if (edge_.reloader == nullptr) {
            return WrongState("CONFIG", "--config", "this server reloads nothing");
          }
          return edge_.reloader->Reload();
        });
  }

  grpc::ServerUnaryReactor* AcknowledgeLoss(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* bytes,
                                            grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::AcknowledgeLossRequest>(
        edge_, Rpc::kAcknowledgeLoss, context, bytes, reply,
        [this](const v1::AcknowledgeLossRequest& request)
            -> absl::StatusOr<v1::AcknowledgeLossResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          ENGRAM_ASSIGN_OR_RETURN(const std::vector<v1::Loss> losses,
                                  model->AcknowledgeLoss(request.producer()));
          v1::AcknowledgeLossResponse response;
          for (const v1::Loss& loss : losses) *response.add_acknowledged() = loss;
          return response;
        });
  }

  grpc::ServerUnaryReactor* ListAudit(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* bytes,
                                      grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::ListAuditRequest>(
        edge_, Rpc::kListAudit, context, bytes, reply,
        [this](const v1::ListAuditRequest& request) { return ListEntries(request); });
  }

  grpc::ServerUnaryReactor* ListQuarantined(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* bytes,
                                            grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::ListQuarantinedRequest>(
        edge_, Rpc::kListQuarantined, context, bytes, reply,
        [this](const v1::ListQuarantinedRequest& request)
            -> absl::StatusOr<v1::ListQuarantinedResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          return model->ListQuarantined(request);
        });
  }

  grpc::ServerUnaryReactor* ReleaseQuarantined(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* bytes,
                                               grpc::ByteBuffer* reply) override {
    return AnswerLater<v1::ReleaseQuarantinedRequest>(
        edge_, Rpc::kReleaseQuarantined, context, UnaryCall::OnDrain::kFinish, bytes, reply,
        [this](const v1::ReleaseQuarantinedRequest& request,
               const std::shared_ptr<UnaryCall>& call) {
          const auto model = FindModel(edge_, request.model());
          if (!model.ok()) return call->Finish(model.status());
          const absl::Status queued = edge_.pool->Run([model = *model, request, call] {
            model->ReleaseQuarantined(
                request, [call](const absl::StatusOr<v1::ReleaseQuarantinedResponse>& released) {
                  call->Finish(released);
                });
          });
          if (!queued.ok()) call->Finish(queued);
        });
  }

  grpc::ServerUnaryReactor* ListRejected(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* bytes,
                                         grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::ListRejectedRequest>(
        edge_, Rpc::kListRejected, context, bytes, reply,
        [this](const v1::ListRejectedRequest& request)
            -> absl::StatusOr<v1::ListRejectedResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          return model->ListRejected(request);
        });
  }

  // It reads a whole log and may predict for minutes: one at a time, and none for nobody.
  grpc::ServerUnaryReactor* Blame(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* bytes,
                                  grpc::ByteBuffer* reply) override {
    return AnswerLater<v1::BlameRequest>(
        edge_, Rpc::kBlame, context, UnaryCall::OnDrain::kAbandon, bytes, reply,
        [this](const v1::BlameRequest& request, const std::shared_ptr<UnaryCall>& call) {
          const auto model = FindModel(edge_, request.model());
          if (!model.ok()) return call->Finish(model.status());
          if (blaming_->exchange(true)) {
            return call->Finish(OverLimit("blame", "one at a time, and one is under way; try again",
                                          kRetryBlame));
          }
          const absl::Status queued =
              edge_.pool->Run([call, request, model = *model, blaming = blaming_] {
                const auto answer =
                    model->Blame(request, [&call] { return call->finished(); });
                blaming->store(false);
                call->Finish(answer);
              });
          if (queued.ok()) return;
          blaming_->store(false);
          call->Finish(queued);
        });
  }

 private:
  absl::StatusOr<v1::ListAuditResponse> ListEntries(const v1::ListAuditRequest& request) const {
    if (request.limit() < 0 || request.limit() > kAuditEntriesMax) {
      return BadField("limit", absl::StrCat("must be in [0, ", kAuditEntriesMax, "], got ",
                                            request.limit()));
    }
    v1::ListAuditResponse response;
    if (edge_.audit == nullptr) return response;
    const int limit = request.limit() == 0 ? kAuditEntries : request.limit();
    for (v1::AuditEntry& entry : edge_.audit->List(limit, request.before_number())) {
      response.add_entries()->Swap(&entry);
    }
    return response;
  }

  const Edge& edge_;
  // The pool's work outlives the service.
  const std::shared_ptr<std::atomic<bool>> blaming_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(const Edge& edge) {
  return std::make_unique<AdminService>(edge);
}

}  // namespace engram::server
