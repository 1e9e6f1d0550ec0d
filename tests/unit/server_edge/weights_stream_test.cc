// CreateModelFromWeights: a file in chunks becomes one request, whole or not at all.
#include <zlib.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engram/v1/model.grpc.pb.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using ::testing::HasSubstr;
using Part = v1::CreateModelFromWeightsRequest;

Part Opening(const std::string& name = "fresh") {
  Part part;
  part.mutable_create()->set_name(name);
  part.mutable_create()->mutable_spec()->set_feature_count(4);
  part.mutable_create()->mutable_weights()->set_scope(v1::PretrainedWeights::STRICT);
  return part;
}

Part Chunk(const std::string& bytes) {
  Part part;
  part.set_chunk(bytes);
  return part;
}

Part EndOf(const std::string& file) {
  Part part;
  part.mutable_end()->set_bytes(static_cast<int64_t>(file.size()));
  part.mutable_end()->set_crc32(static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size())));
  return part;
}

// A stream by hand.
class Upload {
 public:
  explicit Upload(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::Models::NewStub(channel)) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    writer_ = stub_->CreateModelFromWeights(&context_, &model_);
  }
  bool Write(const Part& part) { return writer_->Write(part); }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() {
    writer_->WritesDone();
    return writer_->Finish();
  }
  // Without telling the server that nothing more comes.
  grpc::Status Await() { return writer_->Finish(); }
  const v1::Model& model() const { return model_; }

 private:
  const std::unique_ptr<v1::Models::Stub> stub_;
  grpc::ClientContext context_;
  v1::Model model_;
  std::unique_ptr<grpc::ClientWriter<Part>> writer_;
};

grpc::Status Send(EdgeRig* rig, const std::vector<Part>& parts) {
  Upload upload(rig->channel());
  for (const Part& part : parts) {
    if (!upload.Write(part)) break;
  }
  return upload.Finish();
}

TEST(WeightsStreamTest, AFileLargerThanAMessageArrivesWhole) {
  EdgeRig rig;
  std::string file(5 << 20, 'w');
  for (size_t i = 0; i < file.size(); ++i) file[i] = static_cast<char>(i * 31 >> 3);
  Upload upload(rig.channel());
  upload.Write(Opening());
  for (size_t at = 0; at < file.size(); at += 1 << 20) {
    upload.Write(Chunk(file.substr(at, 1 << 20)));
  }
  upload.Write(EndOf(file));
  const grpc::Status status = upload.Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(upload.model().name(), "fresh");
  EXPECT_TRUE(rig.host().weights() == file);
}

TEST(WeightsStreamTest, WithoutItsEndNoModelIsMade) {
  EdgeRig rig;
  const grpc::Status status = Send(&rig, {Opening(), Chunk("abc")});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(Reason(status), "NO_END");
  EXPECT_THAT(status.error_message(), HasSubstr("after 3 bytes"));
  EXPECT_FALSE(rig.host().Find("fresh").ok());
}

TEST(WeightsStreamTest, AnEndThatDoesNotMatchIsDataLoss) {
  EdgeRig rig;
  for (const std::string& other : {std::string("abcd"), std::string("abd")}) {
    const grpc::Status status = Send(&rig, {Opening(), Chunk("abc"), EndOf(other)});
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
    EXPECT_EQ(Reason(status), "END_MISMATCH");
  }
  EXPECT_FALSE(rig.host().Find("fresh").ok());
}

TEST(WeightsStreamTest, PartsOutOfOrderAreNamed) {
  EdgeRig rig;
  Part inline_bytes = Opening();
  inline_bytes.mutable_create()->mutable_weights()->set_safetensors("abc");
  Part unknown_scope = Opening();
  unknown_scope.mutable_create()->mutable_weights()->set_scope(
      static_cast<v1::PretrainedWeights::Scope>(9));
  const struct {
    std::vector<Part> parts;
    std::string words;
  } cases[] = {{{Chunk("abc")}, "message 1: expected `create` first"},
               {{EndOf("")}, "message 1: expected `create` first"},
               {{Opening(), Opening()}, "message 2: a second `create`"},
               {{Opening(), Part()}, "message 2: neither create, chunk nor end"},
               {{inline_bytes}, "create.weights.safetensors: must be empty"},
               {{unknown_scope}, "weights.scope: unknown value 9"}};
  for (const auto& test : cases) {
    const grpc::Status status = Send(&rig, test.parts);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << test.words;
    EXPECT_THAT(status.error_message(), HasSubstr(test.words));
  }
}

TEST(WeightsStreamTest, APartThatDoesNotParseIsNamed) {
  EdgeRig rig;
  grpc::ClientContext context;
  const auto stream =
      OpenRawStream(rig.channel(), "/engram.v1.Models/CreateModelFromWeights", &context);
  stream->Write(ToBuffer("\x0a\xff\xff\xff\xff\x0f"));
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(),
              HasSubstr("message 1 is not a valid CreateModelFromWeightsRequest (6 bytes)"));
}

TEST(WeightsStreamTest, AllFilesTogetherAreBounded) {
  EdgeRig rig;
  rig.edge().config.mutable_limits()->set_weights_bytes(1000);
  const std::string half(600, 'h');
  const grpc::Status alone = Send(&rig, {Opening(), Chunk(half), Chunk(half), EndOf(half + half)});
  EXPECT_EQ(alone.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(alone.error_message(), HasSubstr("more than 1000 bytes"));
  EXPECT_FALSE(FindDetail<google::rpc::RetryInfo>(alone).has_value()) << "retrying cannot help";

  // Others wait while one is on its way, and no longer than that. That the first part arrived
  // shows in the refusal of the second stream, so both are tried until it does.
  Upload first(rig.channel());
  first.Write(Opening("first"));
  first.Write(Chunk(half));
  grpc::Status second = Send(&rig, {Opening(), Chunk(half), EndOf(half)});
  while (second.ok()) {
    ASSERT_TRUE(rig.host().Delete("fresh").ok());
    second = Send(&rig, {Opening(), Chunk(half), EndOf(half)});
  }
  EXPECT_EQ(second.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(FindDetail<google::rpc::RetryInfo>(second).has_value());
  first.Cancel();
  EXPECT_EQ(first.Await().error_code(), grpc::StatusCode::CANCELLED);
  while (second.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
    second = Send(&rig, {Opening(), Chunk(half), EndOf(half)});
  }
  EXPECT_TRUE(second.ok()) << second.error_message();
}

TEST(WeightsStreamTest, AStreamThatStallsIsEnded) {
  server::StreamLimits limits;
  limits.part_patience = absl::Milliseconds(20);
  EdgeRig rig(limits);
  Upload upload(rig.channel());
  upload.Write(Opening());
  upload.Write(Chunk("abc"));
  const grpc::Status status = upload.Await();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("no part of the weights came for 20ms"));
  EXPECT_FALSE(rig.host().Find("fresh").ok());
}

TEST(WeightsStreamTest, ADrainEndsAStreamThatIsNotWhole) {
  EdgeRig rig;
  Upload upload(rig.channel());
  upload.Write(Opening());
  upload.Write(Chunk("abc"));
  // gRPC itself cancels what no handler has yet.
  while (rig.edge().gate->OpenCalls() == 0) absl::SleepFor(absl::Milliseconds(1));
  rig.server().Drain(absl::Seconds(5));
  EXPECT_EQ(upload.Await().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(WeightsStreamTest, TheHostsRefusalIsTheAnswer) {
  EdgeRig rig;
  rig.AddDigits();
  const grpc::Status status = Send(&rig, {Opening("digits"), Chunk("abc"), EndOf("abc")});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

}  // namespace
}  // namespace engram::testing
