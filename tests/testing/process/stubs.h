// The generated stubs of one server over one channel, and calls with a deadline. The client library
// is left out on purpose: what tests ask through here is what the wire says.
//
// Threading: any thread. Failure: the call's grpc::Status, unchanged.
#pragma once

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engram/v1/admin.grpc.pb.h"
#include "engram/v1/checkpoints.grpc.pb.h"
#include "engram/v1/evaluation.grpc.pb.h"
#include "engram/v1/learning.grpc.pb.h"
#include "engram/v1/model.grpc.pb.h"
#include "engram/v1/prediction.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace engram::testing {

struct Stubs {
  explicit Stubs(std::shared_ptr<grpc::Channel> to)
      : channel(std::move(to)),
        models(v1::Models::NewStub(channel)),
        learning(v1::Learning::NewStub(channel)),
        prediction(v1::Prediction::NewStub(channel)),
        evaluation(v1::Evaluation::NewStub(channel)),
        checkpoints(v1::Checkpoints::NewStub(channel)),
        admin(v1::Admin::NewStub(channel)) {}

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Models::Stub> models;
  std::unique_ptr<v1::Learning::Stub> learning;
  std::unique_ptr<v1::Prediction::Stub> prediction;
  std::unique_ptr<v1::Evaluation::Stub> evaluation;
  std::unique_ptr<v1::Checkpoints::Stub> checkpoints;
  std::unique_ptr<v1::Admin::Stub> admin;
};

template <typename Reply>
struct Outcome {
  grpc::Status status;
  Reply reply;
  bool ok() const { return status.ok(); }
  const Reply* operator->() const { return &reply; }
};

// Call(*stubs.models, &v1::Models::Stub::GetModel, request).
template <typename Stub, typename Request, typename Reply>
Outcome<Reply> Call(Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                    const Request& request, absl::Duration deadline = absl::Seconds(30)) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  Outcome<Reply> outcome;
  outcome.status = (stub.*method)(&context, request, &outcome.reply);
  return outcome;
}

}  // namespace engram::testing
