// The other services over a real connection: what they pass on, and how they refuse.
#include <future>
#include <thread>

#include "absl/synchronization/notification.h"
#include "engram/v1/admin.grpc.pb.h"
#include "engram/v1/checkpoints.grpc.pb.h"
#include "engram/v1/evaluation.grpc.pb.h"
#include "engram/v1/learning.grpc.pb.h"
#include "engram/v1/model.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/errors.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using ::testing::HasSubstr;

class ServicesTest : public ::testing::Test {
 protected:
  template <typename Service, typename Request, typename Response>
  grpc::Status Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                                          Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
    const auto stub = Service::NewStub(rig_.channel());
    return (stub.get()->*method)(&context, request, response);
  }

  EdgeRig rig_;
};

TEST_F(ServicesTest, ModelsAreCreatedListedAndDeleted) {
  v1::CreateModelRequest create;
  create.set_name("digits");
  create.mutable_spec()->set_feature_count(4);
  v1::Model model;
  ASSERT_TRUE(Call<v1::Models>(&v1::Models::Stub::CreateModel, create, &model).ok());
  EXPECT_EQ(Call<v1::Models>(&v1::Models::Stub::CreateModel, create, &model).error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
  v1::ListModelsResponse list;
  ASSERT_TRUE(Call<v1::Models>(&v1::Models::Stub::ListModels, v1::ListModelsRequest(), &list).ok());
  ASSERT_EQ(list.models_size(), 1);
  EXPECT_EQ(list.models(0).spec().feature_count(), 4);
  v1::PauseTrainingRequest pause;
  pause.set_name("digits");
  ASSERT_TRUE(Call<v1::Models>(&v1::Models::Stub::PauseTraining, pause, &model).ok());
  EXPECT_TRUE(model.paused());
  v1::DeleteModelRequest remove;
  remove.set_name("digits");
  v1::DeleteModelResponse removed;
  ASSERT_TRUE(Call<v1::Models>(&v1::Models::Stub::DeleteModel, remove, &removed).ok());
  v1::GetModelRequest get;
  get.set_name("digits");
  EXPECT_EQ(Call<v1::Models>(&v1::Models::Stub::GetModel, get, &model).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, AnUnknownEnumValueIsNamed) {
  v1::CreateModelRequest create;
  create.set_name("digits");
  create.mutable_spec()->mutable_head()->set_kind(static_cast<v1::Head::Kind>(99));
  v1::Model model;
  const grpc::Status status = Call<v1::Models>(&v1::Models::Stub::CreateModel, create, &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "spec.head.kind: unknown value 99");
}

TEST_F(ServicesTest, AnUnknownEnumValueDeepInAListIsNamed) {
  v1::UpdateModelRequest update;
  update.set_name("digits");
  update.mutable_spec()->add_strategies()->mutable_finetune();
  update.mutable_spec()->add_strategies()->mutable_ewc()->set_fisher(
      static_cast<v1::FisherEstimator>(7));
  v1::UpdateModelResponse response;
  EXPECT_EQ(Call<v1::Models>(&v1::Models::Stub::UpdateModel, update, &response).error_message(),
            "spec.strategies[1].ewc.fisher: unknown value 7");
}

TEST_F(ServicesTest, EveryUnaryCallNamesABodyThatDoesNotParse) {
  const std::pair<const char*, const char*> calls[] = {
      {"/engram.v1.Models/CreateModel", "CreateModelRequest"},
      {"/engram.v1.Models/GetModel", "GetModelRequest"},
      {"/engram.v1.Learning/LearnBatch", "LearnBatchRequest"},
      {"/engram.v1.Learning/WaitApplied", "WaitAppliedRequest"},
      {"/engram.v1.Learning/Erase", "EraseRequest"},
      {"/engram.v1.Evaluation/Evaluate", "EvaluateRequest"},
      {"/engram.v1.Checkpoints/Rollback", "RollbackRequest"},
      {"/engram.v1.Admin/Blame", "BlameRequest"},
      {"/engram.v1.Admin/GetLimits", "GetLimitsRequest"}};
  for (const auto& [method, message] : calls) {
    const RawReply reply = CallRaw(rig_.channel(), method, "\x0a\xff\xff\xff\xff\x0f");
    EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_THAT(reply.status.error_message(),
                HasSubstr(std::string("not a valid ") + message + " message (6 bytes)"));
  }
}

TEST_F(ServicesTest, LearnBatchAnswersWithSequencesOrItsRejection) {
  rig_.AddDigits();
  v1::LearnBatchRequest request;
  request.set_model("digits");
  request.set_producer("tester");
  request.set_producer_sequence(1);
  request.add_examples();
  v1::LearnBatchResponse response;
  ASSERT_TRUE(Call<v1::Learning>(&v1::Learning::Stub::LearnBatch, request, &response).ok());
  EXPECT_EQ(response.first_sequence(), 1u);
  EXPECT_EQ(response.durable_sequence(), 1u);
  ASSERT_TRUE(Call<v1::Learning>(&v1::Learning::Stub::LearnBatch, request, &response).ok());
  EXPECT_TRUE(response.duplicate());
  request.set_producer_sequence(2);
  request.clear_examples();
  EXPECT_EQ(Call<v1::Learning>(&v1::Learning::Stub::LearnBatch, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  request.set_producer_sequence(9);
  EXPECT_EQ(Reason(Call<v1::Learning>(&v1::Learning::Stub::LearnBatch, request, &response)),
            "SEQUENCE_GAP");
}

TEST_F(ServicesTest, LearnBatchAnswersOnlyOnceDurable) {
  const auto model = rig_.AddDigits(FakeModel::Commits::kByHand);
  v1::LearnBatchRequest request;
  request.set_model("digits");
  request.set_producer_sequence(1);
  request.add_examples();
  v1::LearnBatchResponse response;
  auto call = std::async(std::launch::async, [&] {
    return Call<v1::Learning>(&v1::Learning::Stub::LearnBatch, request, &response);
  });
  model->AwaitMessages(1);
  EXPECT_EQ(rig_.edge().gate->OpenCalls(), 1u);
  model->Commit();
  EXPECT_TRUE(call.get().ok());
}

TEST_F(ServicesTest, MarkBoundaryNamesTheTasks) {
  rig_.AddDigits();
  v1::MarkBoundaryRequest request;
  request.set_model("digits");
  request.set_producer_sequence(1);
  request.mutable_boundary()->set_next_task("task-2");
  v1::MarkBoundaryResponse response;
  ASSERT_TRUE(Call<v1::Learning>(&v1::Learning::Stub::MarkBoundary, request, &response).ok());
  EXPECT_EQ(response.sequence(), 1u);
  EXPECT_EQ(response.ended_task(), "task-1");
  EXPECT_EQ(response.next_task(), "task-2");
}

TEST_F(ServicesTest, WaitAppliedWithoutASequenceWaitsForWhatIsDurable) {
  const auto model = rig_.AddDigits();
  model->Apply(5, 1);
  v1::WaitAppliedRequest request;
  request.set_model("digits");
  v1::WaitAppliedResponse response;
  ASSERT_TRUE(Call<v1::Learning>(&v1::Learning::Stub::WaitApplied, request, &response).ok());
  EXPECT_EQ(response.applied_sequence(), 5u);
}

TEST_F(ServicesTest, CheckpointsAreListedNewestFirst) {
  const auto model = rig_.AddDigits();
  for (const char* id : {"A", "C", "B"}) {
    v1::Checkpoint checkpoint;
    checkpoint.set_id(id);
    model->AddCheckpoint(checkpoint);
  }
  v1::ListCheckpointsRequest request;
  request.set_model("digits");
  v1::ListCheckpointsResponse response;
  ASSERT_TRUE(
      Call<v1::Checkpoints>(&v1::Checkpoints::Stub::ListCheckpoints, request, &response).ok());
  ASSERT_EQ(response.checkpoints_size(), 3);
  EXPECT_EQ(response.checkpoints(0).id(), "C");
  EXPECT_EQ(response.checkpoints(2).id(), "A");
}

TEST_F(ServicesTest, ACheckpointWaitsForItsSequence) {
  const auto model = rig_.AddDigits();
  v1::CreateCheckpointRequest request;
  request.set_model("digits");
  request.set_label("before");
  request.set_min_applied_sequence(4);
  v1::Checkpoint checkpoint;
  auto call = std::async(std::launch::async, [&] {
    return Call<v1::Checkpoints>(&v1::Checkpoints::Stub::CreateCheckpoint, request, &checkpoint);
  });
  while (rig_.edge().gate->OpenCalls() == 0) std::this_thread::yield();
  model->Apply(4, 1);
  ASSERT_TRUE(call.get().ok());
  EXPECT_EQ(checkpoint.applied_sequence(), 4u);
  EXPECT_EQ(checkpoint.label(), "before");
}

TEST_F(ServicesTest, RollbackAnswersOrNamesTheCheckpoint) {
  const auto model = rig_.AddDigits();
  v1::RollbackRequest request;
  request.set_model("digits");
  request.set_checkpoint("C1");
  v1::RollbackResponse response;
  EXPECT_EQ(
      Call<v1::Checkpoints>(&v1::Checkpoints::Stub::Rollback, request, &response).error_code(),
      grpc::StatusCode::NOT_FOUND);
  v1::Checkpoint checkpoint;
  checkpoint.set_id("C1");
  checkpoint.set_applied_sequence(3);
  model->AddCheckpoint(checkpoint);
  ASSERT_TRUE(Call<v1::Checkpoints>(&v1::Checkpoints::Stub::Rollback, request, &response).ok());
  EXPECT_EQ(response.restored_sequence(), 3u);
}

TEST_F(ServicesTest, EvaluateBoundsItsRows) {
  rig_.AddDigits();
  v1::EvaluateRequest request;
  request.set_model("digits");
  v1::EvaluateResponse response;
  EXPECT_THAT(
      Call<v1::Evaluation>(&v1::Evaluation::Stub::Evaluate, request, &response).error_message(),
      HasSubstr("examples: batch is empty"));
  for (int i = 0; i < 1024; ++i) request.add_examples();
  ASSERT_TRUE(Call<v1::Evaluation>(&v1::Evaluation::Stub::Evaluate, request, &response).ok());
  EXPECT_EQ(response.examples(), 1024);
  request.add_examples();
  EXPECT_THAT(
      Call<v1::Evaluation>(&v1::Evaluation::Stub::Evaluate, request, &response).error_message(),
      HasSubstr("batch 1025 exceeds 1024"));
}

TEST_F(ServicesTest, WatchReportSendsTheReportThenEvents) {
  const auto model = rig_.AddDigits();
  v1::Report report;
  report.set_model("digits");
  model->SetReport(report);
  grpc::ClientContext context;
  v1::WatchReportRequest request;
  request.set_model("digits");
  const auto stub = v1::Evaluation::NewStub(rig_.channel());
  const auto watch = stub->WatchReport(&context, request);
  v1::ReportEvent event;
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_EQ(event.report().model(), "digits");
  while (model->watchers() == 0) std::this_thread::yield();
  v1::ReportEvent rolled_back;
  rolled_back.mutable_rolled_back()->set_sequence(12);
  model->Emit(rolled_back);
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_EQ(event.rolled_back().sequence(), 12u);
  context.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
  while (model->watchers() > 0) std::this_thread::yield();
}

TEST_F(ServicesTest, WatchReportOfAnUnknownModelIsNotFound) {
  grpc::ClientContext context;
  v1::WatchReportRequest request;
  request.set_model("letters");
  const auto stub = v1::Evaluation::NewStub(rig_.channel());
  v1::ReportEvent event;
  const auto watch = stub->WatchReport(&context, request);
  EXPECT_FALSE(watch->Read(&event));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServicesTest, AdminShowsStrategiesLimitsAndServer) {
  v1::ListStrategiesResponse strategies;
  ASSERT_TRUE(
      Call<v1::Admin>(&v1::Admin::Stub::ListStrategies, v1::ListStrategiesRequest(), &strategies)
          .ok());
  ASSERT_EQ(strategies.strategies_size(), 1);
  EXPECT_EQ(strategies.strategies(0).parameters(0).default_value(), "1.5");
  EXPECT_EQ(strategies.strategies(0).parameters(0).range(), "[0, 10]");
  v1::GetLimitsResponse limits;
  ASSERT_TRUE(Call<v1::Admin>(&v1::Admin::Stub::GetLimits, v1::GetLimitsRequest(), &limits).ok());
  EXPECT_EQ(limits.limits(0).name(), "message_bytes");
  EXPECT_EQ(limits.limits(0).value(), "4194304");
  v1::ServerInfo facts;
  ASSERT_TRUE(
      Call<v1::Admin>(&v1::Admin::Stub::GetServerInfo, v1::GetServerInfoRequest(), &facts).ok());
  EXPECT_EQ(facts.version(), "0.0.1");
  EXPECT_EQ(facts.models(), 0);
  EXPECT_EQ(facts.role(), "admin");  // without authentication
}

TEST_F(ServicesTest, BlameRunsOnceAtATimeAndEndsWithItsCaller) {
  rig_.AddDigits();
  absl::Notification begun;
  absl::Notification over;
  rig_.digits()->SetBlame([&](const std::function<bool()>& left)
                              -> absl::StatusOr<v1::BlameResponse> {
    begun.Notify();
    while (!left()) absl::SleepFor(absl::Milliseconds(1));
    over.Notify();
    return absl::CancelledError("left");
  });
  v1::BlameRequest request;
  v1::BlameResponse response;
  request.set_model("letters");
  EXPECT_EQ(Call<v1::Admin>(&v1::Admin::Stub::Blame, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  request.set_model("digits");
  grpc::ClientContext context;
  const auto stub = v1::Admin::NewStub(rig_.channel());
  std::thread first([&] {
    v1::BlameResponse none;
    EXPECT_EQ(stub->Blame(&context, request, &none).error_code(), grpc::StatusCode::CANCELLED);
  });
  begun.WaitForNotification();
  const grpc::Status second = Call<v1::Admin>(&v1::Admin::Stub::Blame, request, &response);
  EXPECT_EQ(second.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(second.error_message(), HasSubstr("one at a time"));
  EXPECT_TRUE(FindDetail<google::rpc::RetryInfo>(second).has_value());
  context.TryCancel();
  first.join();
  over.WaitForNotification();
  rig_.digits()->SetBlame(nullptr);
  // Until its thread has said that it is free.
  grpc::Status third = second;
  while (third.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    third = Call<v1::Admin>(&v1::Admin::Stub::Blame, request, &response);
  }
  EXPECT_TRUE(third.ok()) << third.error_message();
}

TEST_F(ServicesTest, UnknownMethodsAreUnimplemented) {
  EXPECT_EQ(CallRaw(rig_.channel(), "/engram.v1.Models/FormatDisk", "").status.error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace engram::testing
