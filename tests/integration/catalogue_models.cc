// Numbers 59-77: predictions, checkpoints, rollbacks, files of weights.
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/integration/bad_input.h"
#include "tests/integration/catalogue.h"
#include "tests/testing/process/safetensors_file.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/subprocess.h"

namespace engram::integration {
namespace {

namespace fs = std::filesystem;
using testing::Call;
using testing::SafetensorsFile;

// --- predictions ---

grpc::Status Predict(CatalogueRig* rig, const std::function<void(v1::PredictRequest*)>& edit,
                     absl::Duration deadline = absl::Seconds(10)) {
  v1::PredictRequest request;
  request.set_model("toy");
  request.mutable_features()->set_dense(testing::ToyRows({}, {0}, 1));
  edit(&request);
  return Call(*rig->stubs().prediction, &v1::Prediction::Stub::Predict, request, deadline).status;
}

void BadRows(CatalogueRig* rig) {
  const auto with = [rig](const std::string& bytes) {
    return Predict(rig, [&](v1::PredictRequest* r) { r->mutable_features()->set_dense(bytes); });
  };
  std::vector<float> row = testing::ToyFeatures({}, 0, 1);
  const std::string good = testing::DenseBytes(row);
  row[3] = std::numeric_limits<float>::quiet_NaN();
  rig->Expect("NaN", with(testing::DenseBytes(row)), grpc::INVALID_ARGUMENT,
              {"features[3]", "is NaN"});
  row[3] = -std::numeric_limits<float>::infinity();
  rig->Expect("-Inf", with(testing::DenseBytes(row)), grpc::INVALID_ARGUMENT,
              {"features[3]", "is -Inf"});
  row[3] = 1e20F;
  rig->Expect("1e20", with(testing::DenseBytes(row)), grpc::INVALID_ARGUMENT,
              {"features[3]", "1e+20 exceeds max_abs_feature 1e+06"});
  rig->Expect("15 values for 16", with(good.substr(0, 60)), grpc::INVALID_ARGUMENT,
              {"features", "expected 16 values (model \"toy\"), got 15"});
  rig->Expect("1 025 rows",
              with(testing::ToyRows({}, std::vector<int64_t>(1025, 0), 1)),
              grpc::INVALID_ARGUMENT, {"features: batch 1025 exceeds 1024"});
}

// Finite, and too large to compute with.
void NonFiniteOutput(CatalogueRig* rig) {
  SafetensorsFile file;
  file.AddFloats("hidden0.weight", {32, 16}, std::vector<float>(512, 1e38F));
  file.AddFloats("hidden0.bias", {32}, std::vector<float>(32, 3e38F));
  file.AddFloats("head.weight", {2, 32}, std::vector<float>(64, 3e38F));
  file.AddFloats("head.bias", {2}, {0, 0});
  v1::CreateModelRequest request;
  request.set_name("absurd");
  *request.mutable_spec() = ToySpec();
  for (int64_t label = 0; label < 2; ++label) {
    request.mutable_spec()->add_labels()->set_number(label);
  }
  request.mutable_weights()->set_safetensors(file.Bytes());
  request.mutable_weights()->set_scope(v1::PretrainedWeights::STRICT);
  const auto made = Call(*rig->stubs().models, &v1::Models::Stub::CreateModel, request);
  ASSERT_TRUE(made.ok()) << made.status.error_message();
  rig->Expect("weights of 1e38",
              Predict(rig,
                      [](v1::PredictRequest* r) {
                        r->set_model("absurd");
                        const std::vector<float> ones(16, 1);
                        r->mutable_features()->set_dense(testing::DenseBytes(ones));
                      }),
              grpc::INTERNAL, {"model version 0 produced non-finite output"});
}

void UnknownVersion(CatalogueRig* rig) {
  rig->Expect("version 7", Predict(rig, [](v1::PredictRequest* r) { r->set_version(7); }),
              grpc::NOT_FOUND, {"version", "7", "there is"});
}

void FutureSequence(CatalogueRig* rig) {
  const uint64_t soon = rig->toy().Describe().durable_sequence() + 1000;
  rig->Expect("1 000 from now, for 300 ms",
              Predict(
                  rig, [soon](v1::PredictRequest* r) { r->set_min_applied_sequence(soon); },
                  absl::Milliseconds(300)),
              grpc::DEADLINE_EXCEEDED, {"applied_through=", absl::StrCat(" < ", soon)});
  rig->Expect("5 000 000 000", Predict(rig, [](v1::PredictRequest* r) {
                r->set_min_applied_sequence(5'000'000'000);
              }),
              grpc::OUT_OF_RANGE, {"sequence 5000000000 can never be", "durable_through="});
}

void TopK(CatalogueRig* rig) {
  for (const int32_t k : {0, -1, 1'000'000'000}) {
    rig->Expect(absl::StrCat(k), Predict(rig, [k](v1::PredictRequest* r) { r->set_top_k(k); }),
                grpc::INVALID_ARGUMENT, {"top_k: must be in [1,2]", absl::StrCat("got ", k)});
  }
  rig->ExpectOk("2 of 2 classes", Predict(rig, [](v1::PredictRequest* r) { r->set_top_k(2); }));
}

void NoClassYet(CatalogueRig* rig) {
  rig->Model("untaught");
  rig->Expect("nothing learned",
              Predict(rig, [](v1::PredictRequest* r) { r->set_model("untaught"); }),
              grpc::FAILED_PRECONDITION, {"no class yet: 0 examples applied (model \"untaught\")"});
  rig->Expect("no such model", Predict(rig, [](v1::PredictRequest* r) { r->set_model("nobody"); }),
              grpc::NOT_FOUND, {"model \"nobody\" not found", "there is: "});
}

// --- checkpoints and rollbacks ---

grpc::Status Get(CatalogueRig* rig, const std::string& model, const std::string& id) {
  v1::GetCheckpointRequest request;
  request.set_model(model);
  request.set_id(id);
  return Call(*rig->stubs().checkpoints, &v1::Checkpoints::Stub::GetCheckpoint, request).status;
}

grpc::Status Rollback(CatalogueRig* rig, const std::string& model, const std::string& id,
                      uint64_t expected = 0) {
  v1::RollbackRequest request;
  request.set_model(model);
  request.set_checkpoint(id);
  request.set_expected_current_version(expected);
  return Call(*rig->stubs().checkpoints, &v1::Checkpoints::Stub::Rollback, request).status;
}

grpc::Status Delete(CatalogueRig* rig, const std::string& model, const std::string& id) {
  v1::DeleteCheckpointRequest request;
  request.set_model(model);
  request.set_id(id);
  return Call(*rig->stubs().checkpoints, &v1::Checkpoints::Stub::DeleteCheckpoint, request).status;
}

// The file of a checkpoint on the disk of the server.
std::string FileOf(CatalogueRig* rig, const std::string& id) {
  const std::string store = rig->Folder("store") + "/checkpoints";
  for (const auto& entry : fs::recursive_directory_iterator(store)) {
    if (entry.path().stem() == id) return entry.path().string();
  }
  ADD_FAILURE() << "no file of checkpoint " << id;
  return "";
}

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Two checkpoints with learning after each.
std::vector<v1::Checkpoint> TwoCheckpoints(ToyModel* model) {
  std::vector<v1::Checkpoint> made;
  for (int i = 0; i < 2; ++i) {
    model->Learn({0, 1}, 40);
    model->WaitApplied();
    made.push_back(model->Checkpoint());
  }
  model->Learn({0, 1}, 40);
  model->WaitApplied();
  return made;
}

void StrangeIds(CatalogueRig* rig) {
  for (const auto& [what, id] : std::vector<std::pair<std::string, std::string>>{
           {"../../etc/passwd", "../../etc/passwd"},
           {"/etc/passwd", "/etc/passwd"},
           {"NUL", std::string("a\0b", 3)},
           {"empty", ""}}) {
    rig->Expect(what, Get(rig, "toy", id), grpc::INVALID_ARGUMENT,
                {"checkpoint id has invalid form: expected 26 characters of base32 or a label",
                 what == "NUL" ? "got \"a\\x00" : absl::StrCat("got \"", id, "\"")});
  }
  ToyModel model = rig->Model("linked");
  const std::string id = TwoCheckpoints(&model).front().id();
  const std::string file = FileOf(rig, id);
  fs::rename(file, file + ".aside");
  fs::create_symlink(file + ".aside", file);
  rig->Expect("a symlink in place of the file", Rollback(rig, "linked", id),
              grpc::FAILED_PRECONDITION, {"checkpoint", id, "not a regular file"});
  fs::remove(file);
  fs::rename(file + ".aside", file);
  rig->ExpectOk("the file again", Rollback(rig, "linked", id));
}

void UnknownIds(CatalogueRig* rig) {
  const std::string unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  const std::string kept = rig->toy().Checkpoints().front().id();
  rig->Expect("never made", Get(rig, "toy", unknown), grpc::NOT_FOUND,
              {"checkpoint", unknown, "there is: ", kept});
  rig->Expect("no such label", Get(rig, "toy", "nothing"), grpc::NOT_FOUND,
              {"checkpoint \"nothing\" not found", kept});
  ToyModel model = rig->Model("deleting");
  const auto made = TwoCheckpoints(&model);
  rig->ExpectOk("deleting it", Delete(rig, "deleting", made[0].id()));
  rig->Expect("deleted", Rollback(rig, "deleting", made[0].id()), grpc::NOT_FOUND,
              {made[0].id(), "there is: ", made[1].id()});
}

void DamagedFiles(CatalogueRig* rig) {
  ToyModel model = rig->Model("damaged");
  const auto made = TwoCheckpoints(&model);
  const std::string file = FileOf(rig, made[0].id());
  const std::string good = testing::ReadWholeFile(file);
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
  for (const auto& [what, bytes] : std::vector<std::pair<std::string, std::string>>{
           {"one bit", flipped},
           {"one byte short", good.substr(0, good.size() - 1)},
           {"empty", ""},
           {"one byte more", good + "x"}}) {
    Write(file, bytes);
    const grpc::Status status = Rollback(rig, "damaged", made[0].id());
    rig->Expect(what, status, grpc::DATA_LOSS,
                {made[0].id(), what == "one bit" ? "sha256 expected" : "bytes, found",
                 "newest valid: ", made[1].id()});
    EXPECT_EQ(testing::Reason(status), "CHECKSUM");
  }
  Write(file, good);
  rig->ExpectOk("as it was", Rollback(rig, "damaged", made[0].id()));
}

// A stopped server's folder that says another format: refused, and not a byte is another.
void NewerFormat(CatalogueRig* rig) {
  const std::string format = rig->stopped_store() + "/FORMAT";
  const std::string good = testing::ReadWholeFile(format);
  Write(format, "engram-store 99\n");
  const auto before = FilesOf(rig->stopped_store());
  testing::ServerOptions options;
  options.data_dir = rig->stopped_store();
  const auto finished = testing::RunToEnd(testing::ServerCommand(options), absl::Seconds(30),
                                          rig->Folder("output") + "/format");
  ASSERT_TRUE(finished.ok()) << finished.status();
  rig->Expect("format 99", finished->code, 78, finished->output,
              {"format 99", "newer than the supported"});
  EXPECT_EQ(FilesOf(rig->stopped_store()), before);
  Write(format, good);
}

void StrangeRollbacks(CatalogueRig* rig) {
  ToyModel model = rig->Model("rolled");
  TwoCheckpoints(&model);
  const std::string now = model.Checkpoint().id();
  rig->ExpectOk("to what is served", Rollback(rig, "rolled", now));
}

void OtherVersion(CatalogueRig* rig) {
  ToyModel model(&rig->stubs(), "rolled");
  const uint64_t version = model.Describe().version();
  const grpc::Status status = Rollback(rig, "rolled", model.Checkpoints().back().id(), 1);
  rig->Expect("expects version 1", status, grpc::ABORTED,
              {absl::StrCat("current is ", version, ", request expected 1")});
  EXPECT_EQ(testing::Reason(status), "VERSION_CHANGED");
}

// --- files of weights ---

grpc::Status CreateFrom(CatalogueRig* rig, const std::string& file) {
  v1::CreateModelRequest request;
  request.set_name("from-file");
  *request.mutable_spec() = ToySpec();
  request.mutable_weights()->set_safetensors(file);
  request.mutable_weights()->set_scope(v1::PretrainedWeights::TRUNK);
  return Call(*rig->stubs().models, &v1::Models::Stub::CreateModel, request).status;
}

SafetensorsFile Trunk(float bias = 0) {
  SafetensorsFile file;
  file.AddFloats("hidden0.weight", {32, 16}, std::vector<float>(512, 0.1F));
  std::vector<float> biases(32, 0);
  biases[4] = bias;
  file.AddFloats("hidden0.bias", {32}, biases);
  return file;
}

void BrokenHeaders(CatalogueRig* rig) {
  const auto refused = [rig](const std::string& what, const std::string& file,
                             const std::vector<std::string>& words) {
    rig->Expect(what, CreateFrom(rig, file), grpc::INVALID_ARGUMENT, words);
  };
  const std::string tensor = "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":";
  const auto with = [&tensor](const std::string& first, const std::string& second) {
    return SafetensorsFile::WithHeader(absl::StrCat("{\"a\":", tensor, first, "},\"", second),
                                       std::string(16, '\0'));
  };
  refused("header of 2^63 bytes", std::string("\0\0\0\0\0\0\0\x80{}", 10),
          {"weights: ", "header length 9223372036854775808 exceeds the limit of "});
  refused("overlapping", with("[0,8]", absl::StrCat("b\":", tensor, "[4,12]}}")),
          {"weights: ", "\"b\" overlaps"});
  refused("a hole", with("[0,4]", absl::StrCat("b\":", tensor, "[8,16]}}")),
          {"weights: ", "\"a\""});
  refused("a name twice", with("[0,8]", absl::StrCat("a\":", tensor, "[8,16]}}")),
          {"weights: ", "a"});
  refused("a name of control characters",
          with("[0,8]", absl::StrCat("b\\n\\u001b[31m\":", tensor, "[0,80]}}")),
          {"weights: ", "tensor \"b\\n\\x1b[31m\": offsets out of bounds"});
  refused("end before begin", with("[8,0]", "b\":1}"), {"weights: "});
  refused("offsets of 2^64",
          with("[0,18446744073709551616]", absl::StrCat("b\":", tensor, "[8,16]}}")),
          {"weights: "});
  refused("a shape of 2^64 values",
          SafetensorsFile::WithHeader(
              "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
              "\"data_offsets\":[0,8]}}",
              std::string(8, '\0')),
          {"weights: "});
}

void NaNWeights(CatalogueRig* rig) {
  rig->Expect("NaN", CreateFrom(rig, Trunk(std::numeric_limits<float>::quiet_NaN()).Bytes()),
              grpc::INVALID_ARGUMENT, {"weights: ", "\"hidden0.bias\"[4] is NaN"});
  rig->Expect("Inf", CreateFrom(rig, Trunk(std::numeric_limits<float>::infinity()).Bytes()),
              grpc::INVALID_ARGUMENT, {"weights: ", "\"hidden0.bias\"[4] is Inf"});
}

void OtherFormats(CatalogueRig* rig) {
  rig->Expect("zip", CreateFrom(rig, "PK\x03\x04 and more"), grpc::INVALID_ARGUMENT,
              {"weights: expected a safetensors file, got a zip archive", "convert"});
  rig->Expect("pickle", CreateFrom(rig, "\x80\x02}q and more"), grpc::INVALID_ARGUMENT,
              {"weights: expected a safetensors file, got a Python pickle", "convert"});
}

grpc::Status Upload(CatalogueRig* rig, const std::string& file, uint32_t crc) {
  grpc::ClientContext context;
  v1::Model made;
  const auto writer = rig->stubs().models->CreateModelFromWeights(&context, &made);
  v1::CreateModelFromWeightsRequest part;
  part.mutable_create()->set_name("uploaded");
  *part.mutable_create()->mutable_spec() = ToySpec();
  writer->Write(part);
  for (size_t at = 0; at < file.size(); at += 512 << 10) {
    part.set_chunk(file.substr(at, 512 << 10));
    writer->Write(part);
  }
  part.mutable_end()->set_bytes(static_cast<int64_t>(file.size()));
  part.mutable_end()->set_crc32(crc);
  writer->Write(part);
  writer->WritesDone();
  return writer->Finish();
}

void Uploads(CatalogueRig* rig) {
  rig->Expect("1 MiB and a byte", Upload(rig, std::string((1 << 20) + 1, 'x'), 0),
              grpc::RESOURCE_EXHAUSTED, {"weights: more than 1048576 bytes, the limit"});
  const grpc::Status status = Upload(rig, Trunk().Bytes(), 7);
  rig->Expect("another CRC-32", status, grpc::DATA_LOSS, {"CRC-32 7, server received"});
  EXPECT_EQ(testing::Reason(status), "END_MISMATCH");
}

void NoRoom(CatalogueRig* rig) {
  ToyModel model = rig->Model("full");
  model.Learn({0, 1}, 20);
  model.WaitApplied();
  for (int i = 0; i < 4; ++i) model.Checkpoint();
  const auto create = [](const testing::Stubs& stubs, const std::string& name) {
    v1::CreateCheckpointRequest request;
    request.set_model(name);
    return Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request).status;
  };
  rig->Expect("a fifth of four", create(rig->stubs(), "full"), grpc::RESOURCE_EXHAUSTED,
              {"keeps 4 checkpoints, the limit is 4: delete one"});
  EXPECT_EQ(model.Checkpoints().size(), 4u);
  const testing::Stubs stubs(rig->faulty().NewChannel());
  rig->faults().PlayFreeBytes(91 << 20);
  absl::SleepFor(absl::Milliseconds(300));
  const grpc::Status status = create(stubs, "disk");
  rig->Expect("91 MiB free", status, grpc::RESOURCE_EXHAUSTED, {"free space", "below reserve"});
  EXPECT_TRUE(testing::FindDetail<google::rpc::RetryInfo>(status).has_value());
  rig->faults().PlayFreeBytes(-1);
  rig->StopFaulty();
}

void TheOnlyOne(CatalogueRig* rig) {
  ToyModel model = rig->Model("single");
  model.Learn({0, 1}, 20);
  model.WaitApplied();
  const std::string id = model.Checkpoint().id();
  rig->Expect("the only one", Delete(rig, "single", id), grpc::FAILED_PRECONDITION,
              {id, "is the only valid checkpoint"});
}

}  // namespace

std::vector<Entry> ModelEntries() {
  return {
      {59, "rows that cannot be", BadRows, {"PredictionTest.BadRowsNameFieldExpectationAndValue"}},
      {60, "a model that produces what is not finite", NonFiniteOutput,
       {"SnapshotTest.NonFiniteOutputIsAnErrorNeverAScore"}},
      {61, "a version that is not kept", UnknownVersion},
      {62, "a sequence of the future", FutureSequence},
      {63, "a top_k outside the classes", TopK},
      {64, "a model that has learned nothing", NoClassYet},
      {65, "an id that is a path", StrangeIds,
       {"CheckpointFileTest.ALinkInPlaceOfTheFileIsRefused"}},
      {66, "an id that is not there", UnknownIds},
      {67, "a damaged checkpoint", DamagedFiles,
       {"CheckpointFileTest.EveryFlippedByteIsDataLossNamingTheNewestValid"}},
      {68, "a checkpoint of another architecture", nullptr,
       {"RestoreMismatchTest.AnotherModelIsRefusedNamingBoth",
        "LearnerContractTest.StateOfAnotherArchitectureIsRefusedNamingBoth"}},
      {69, "a newer format", NewerFormat,
       {"OpenTest.ANewerFormatIsRefusedUntouched", "DamagedRowTest.ANewerCheckpointRowIsRefused"}},
      {70, "a rollback to what is served, or beside another", StrangeRollbacks,
       {"RollbackTest.ToWhatIsServedIsNothing",
        "RollbackTest.ComparesTheVersionAndRunsOneAtATime"}},
      {71, "a rollback that expects another version", OtherVersion},
      {72, "a file of weights whose header lies", BrokenHeaders,
       {"WeightImportTest.EachBrokenRuleOfTheFormIsNamed"}},
      {73, "weights that are not finite", NaNWeights},
      {74, "a pickle, a zip archive", OtherFormats},
      {75, "an upload that is too large, garbled or stalls", Uploads,
       {"WeightsStreamTest.AStreamThatStallsIsEnded",
        "WeightsTest.KilledAmidAnUploadTheServerKnowsNothingOfIt"}},
      {76, "a checkpoint without room", NoRoom},
      {77, "deleting the last checkpoint", TheOnlyOne,
       {"RollbackTest.ItsRecordGetsACheckpointAndUntilThenTheTargetIsPinned"}},
  };
}

}  // namespace engram::integration
