// Export and Import: a model's file out in chunks, and in as one request that the file completes.
#include "server/model_file.h"

#include <zlib.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engram/v1/checkpoints.grpc.pb.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "storage/sha256.h"
#include "tests/testing/process/safetensors_file.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using ::testing::HasSubstr;

server::ModelFile FileOf(const std::string& bytes) {
  server::ModelFile file;
  file.bytes = bytes;
  file.header.set_checkpoint("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  file.header.set_model_version(7);
  file.header.set_bytes(static_cast<int64_t>(bytes.size()));
  file.header.set_sha256(storage::Sha256Hex(bytes));
  file.header.add_labels()->set_text("cat");
  return file;
}

// A stream read to its end.
struct Download {
  explicit Download(EdgeRig* rig, const std::string& checkpoint = "") {
    const auto stub = v1::Checkpoints::NewStub(rig->channel());
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::ExportRequest request;
    request.set_model("digits");
    request.set_checkpoint(checkpoint);
    const auto reader = stub->Export(&context, request);
    v1::ExportResponse part;
    while (reader->Read(&part)) parts.push_back(part);
    status = reader->Finish();
  }
  std::vector<v1::ExportResponse> parts;
  grpc::Status status;
};

TEST(ExportStreamTest, AFileComesInChunksBehindItsHeader) {
  EdgeRig rig;
  std::string bytes((5 << 20) / 2, 'w');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 >> 3);
  rig.AddDigits()->SetFile(FileOf(bytes));
  const Download download(&rig);
  ASSERT_TRUE(download.status.ok()) << download.status.error_message();
  ASSERT_EQ(download.parts.size(), 4u);
  const v1::ExportResponse::Header& header = download.parts[0].header();
  EXPECT_EQ(header.model_version(), 7u);
  EXPECT_EQ(header.labels(0).text(), "cat");
  EXPECT_EQ(header.bytes(), static_cast<int64_t>(bytes.size()));
  std::string received;
  for (size_t i = 1; i < download.parts.size(); ++i) {
    EXPECT_LE(download.parts[i].chunk().size(), size_t{1} << 20);
    received += download.parts[i].chunk();
  }
  EXPECT_TRUE(received == bytes);
  EXPECT_EQ(storage::Sha256Hex(received), header.sha256());
}

TEST(ExportStreamTest, WhatTheModelRefusesIsTheAnswer) {
  EdgeRig rig;
  EXPECT_EQ(Download(&rig).status.error_code(), grpc::StatusCode::NOT_FOUND);
  rig.AddDigits();
  EXPECT_EQ(Download(&rig, "other").status.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(ExportStreamTest, FilesOnTheirWayOutAreBoundedAndGiveBackTheirBytes) {
  EdgeRig rig;
  rig.edge().config.mutable_limits()->set_weights_bytes(1000);
  const auto digits = rig.AddDigits();
  digits->SetFile(FileOf(std::string(1001, 'w')));
  const Download large(&rig);
  EXPECT_EQ(large.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(large.status.error_message(), HasSubstr("1001 bytes, limits.weights_bytes is 1000"));
  EXPECT_FALSE(FindDetail<google::rpc::RetryInfo>(large.status).has_value());
  digits->SetFile(FileOf(std::string(600, 'w')));
  for (int i = 0; i < 5; ++i) {
    // The stream before may still be on its way to its end.
    grpc::Status status = Download(&rig).status;
    while (FindDetail<google::rpc::RetryInfo>(status).has_value()) status = Download(&rig).status;
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

TEST(ExportStreamTest, AReaderThatStallsIsEnded) {
  server::StreamLimits limits;
  limits.write_patience = absl::Milliseconds(20);
  EdgeRig rig(limits);
  rig.AddDigits()->SetFile(FileOf(std::string(64 << 20, 'w')));
  const auto stub = v1::Checkpoints::NewStub(rig.channel());
  grpc::ClientContext context;
  v1::ExportRequest request;
  request.set_model("digits");
  const auto reader = stub->Export(&context, request);
  v1::ExportResponse part;
  ASSERT_TRUE(reader->Read(&part));
  while (rig.edge().gate->OpenCalls() > 0) absl::SleepFor(absl::Milliseconds(1));
  while (reader->Read(&part)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_FALSE(status.ok());
}

// --- import ---

constexpr char kSpec[] = R"({"feature_count":"4","mlp":{"hidden":["2"]},"seed":"5"})";

std::string Quoted(std::string text) {
  std::string quoted;
  for (const char c : text) quoted += c == '"' ? std::string("\\\"") : std::string(1, c);
  return absl::StrCat("\"", quoted, "\"");
}

std::string Exported(const std::string& labels, const std::string& spec = kSpec,
                     const std::string& more = "") {
  return SafetensorsFile()
      .Entry(absl::StrCat("\"__metadata__\":{\"labels\":", Quoted(labels), ",\"spec\":",
                          Quoted(spec), more, "}"))
      .AddFloats("head.bias", {1}, {0})
      .Bytes();
}

grpc::Status Import(EdgeRig* rig, const std::string& file,
                    const absl::optional<v1::ModelSpec>& spec = absl::nullopt) {
  const auto stub = v1::Checkpoints::NewStub(rig->channel());
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
  v1::Model model;
  const auto writer = stub->Import(&context, &model);
  v1::ImportRequest part;
  part.mutable_header()->set_name("fresh");
  if (spec.has_value()) *part.mutable_header()->mutable_spec() = *spec;
  bool open = writer->Write(part);
  part.set_chunk(file);
  open = open && writer->Write(part);
  part.mutable_end()->set_bytes(static_cast<int64_t>(file.size()));
  part.mutable_end()->set_crc32(static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size())));
  if (open) writer->Write(part);
  writer->WritesDone();
  return writer->Finish();
}

TEST(ImportStreamTest, TheFileBringsItsSpecAndItsLabels) {
  EdgeRig rig;
  const std::string file = Exported("[7,-1]");
  const grpc::Status status = Import(&rig, file);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(rig.host().weights() == file);
  const v1::ModelSpec spec = *(*rig.host().Find("fresh"))->spec();
  EXPECT_EQ(spec.feature_count(), 4);
  EXPECT_EQ(spec.mlp().hidden(0), 2);
  EXPECT_EQ(spec.seed(), 5u);
  ASSERT_EQ(spec.labels_size(), 2);
  EXPECT_EQ(spec.labels(0).number(), 7);
  EXPECT_EQ(spec.labels(1).number(), -1);
}

TEST(ImportStreamTest, ASpecThatIsGivenTakesThePlaceOfTheFiles) {
  EdgeRig rig;
  v1::ModelSpec given;
  given.set_feature_count(9);
  const grpc::Status status = Import(&rig, Exported("[\"a\",\"b\"]"), given);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const v1::ModelSpec spec = *(*rig.host().Find("fresh"))->spec();
  EXPECT_EQ(spec.feature_count(), 9);
  EXPECT_EQ(spec.seed(), 0u);
  ASSERT_EQ(spec.labels_size(), 2);
  EXPECT_EQ(spec.labels(1).text(), "b");
}

TEST(ImportStreamTest, AFileThatIsNoExportIsRefusedAndNothingIsMade) {
  EdgeRig rig;
  const std::string deep(100000, '[');
  const struct {
    std::string file;
    std::string words;
  } cases[] = {
      {"", "no \"spec\""},
      {"PK\x03\x04 and more", "TorchScript is: a program"},
      {SafetensorsFile().AddFloats("head.bias", {1}, {0}).Bytes(), "no \"spec\""},
      {SafetensorsFile::WithHeader("{not json", ""), "no \"spec\""},
      {SafetensorsFile::WithHeader(deep, ""), "no \"spec\""},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "no \"spec\""},
      {SafetensorsFile::WithHeader("{\"__metadata__\":[1]}", ""), "no \"spec\""},
      {SafetensorsFile::WithHeader("{\"__metadata__\":{\"spec\":5}}", ""), "no \"spec\""},
      {Exported("[1]", "{\"feature_count\":\"many\"}"), "no ModelSpec"},
      {Exported("[1]", "{\"password\":1}"), "no ModelSpec"},
      {Exported("[1]", deep), "no ModelSpec"},
      {Exported("{}"), "no \"labels\""},
      {Exported("[1.5]"), "labels[0], which is neither"},
      {Exported("[1,18446744073709551615]"), "labels[1], which is neither"},
      {Exported("[1]", kSpec, absl::StrCat(",\"pad\":\"", std::string(1 << 20, 'x'), "\"")),
       "at most 1048576 are read"},
      {Exported("[1]", kSpec, ",\"tasks\":\"{}\""), "a head a task"},
  };
  for (const auto& test : cases) {
    const grpc::Status status = Import(&rig, test.file);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << test.words;
    EXPECT_THAT(status.error_message(), HasSubstr(test.words));
    EXPECT_FALSE(rig.host().Find("fresh").ok());
  }
}

TEST(ImportStreamTest, PartsOutOfOrderAreNamedAsImportCallsThem) {
  EdgeRig rig;
  const auto stub = v1::Checkpoints::NewStub(rig.channel());
  grpc::ClientContext context;
  v1::Model model;
  const auto writer = stub->Import(&context, &model);
  v1::ImportRequest part;
  part.set_chunk("abc");
  writer->Write(part);
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("message 1: expected `header` first"));
}

}  // namespace
}  // namespace engram::testing
