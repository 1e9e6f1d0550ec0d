#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/v1/evaluation.grpc.pb.h"
#include "server/report_watch.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace engram::server {
namespace {

using v1::Evaluation;
using RawEvaluation =
    Evaluation::WithRawCallbackMethod_GetReport<Evaluation::WithRawCallbackMethod_WatchReport<
        Evaluation::WithRawCallbackMethod_Evaluate<Evaluation::Service>>>;

class EvaluationService final : public RawEvaluation {
 public:
  explicit EvaluationService(const Edge& edge) : edge_(edge) {}

  grpc::ServerUnaryReactor* GetReport(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* bytes,
                                      grpc::ByteBuffer* reply) override {
    return AnswerNow<v1::GetReportRequest>(
        edge_, Rpc::kGetReport, context, bytes, reply,
        [this](const v1::GetReportRequest& request) -> absl::StatusOr<v1::Report> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          return model->Report();
        });
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchReport(grpc::CallbackServerContext* context,
                                                          const grpc::ByteBuffer* bytes) override {
    return StartReportWatch(edge_, *context, *bytes);
  }

  // A forward pass over up to 1 024 rows: on the pool.
  grpc::ServerUnaryReactor* Evaluate(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::EvaluateRequest>(
        edge_, Rpc::kEvaluate, context, bytes, reply,
        [this](const v1::EvaluateRequest& request) -> absl::StatusOr<v1::EvaluateResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          const int64_t most = edge_.config.limits().examples_per_message();
          if (request.examples().empty()) return BadField("examples", "batch is empty");
          if (request.examples_size() > most) {
            return BadField("examples",
                            absl::StrCat("batch ", request.examples_size(), " exceeds ", most));
          }
          return model->Evaluate(request);
        });
  }

 private:
  const Edge& edge_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeEvaluationService(const Edge& edge) {
  return std::make_unique<EvaluationService>(edge);
}

}  // namespace engram::server
