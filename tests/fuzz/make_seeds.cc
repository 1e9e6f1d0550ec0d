// Writes the seeds of every fuzz target into FOLDER/TARGET/NAME: honest inputs, as small as they
// can be, that lead a mutation deep into what is tested. Run once, kept in the repository.
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/admin.pb.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/evaluation.pb.h"
#include "engram/v1/learning.pb.h"
#include "engram/v1/prediction.pb.h"
#include "google/protobuf/text_format.h"
#include "inference/grpc_service.pb.h"
#include "server/stream_state.h"
#include "storage/checkpoint_row.h"
#include "storage/codec.h"
#include "storage/log_rows.h"
#include "tests/fuzz/small_learner.h"
#include "tests/testing/process/safetensors_file.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::fuzz {
namespace {

class SeedFolder {
 public:
  SeedFolder(const std::string& root, const std::string& target) : path_(root + "/" + target) {
    std::filesystem::create_directories(path_);
  }
  void Add(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
  }
  // Behind the byte by which a target chooses.
  void Add(const std::string& name, int choice, const std::string& bytes) const {
    Add(name, std::string(1, static_cast<char>(choice)) + bytes);
  }

 private:
  const std::string path_;
};

template <typename Message>
std::string FromText(const std::string& text) {
  Message message;
  ENGRAM_CHECK(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message.SerializeAsString();
}

v1::Example OneExample(uint64_t index) {
  v1::Example example = testing::ToyExample({kFeatures}, static_cast<int64_t>(index % 2), index);
  example.set_id("id");
  return example;
}

void LearnRequests(const std::string& root) {
  const SeedFolder seeds(root, "learn_request");
  v1::LearnRequest dense;
  dense.mutable_message()->set_producer_sequence(1);
  *dense.mutable_message()->add_examples() = OneExample(1);
  *dense.mutable_message()->add_examples() = OneExample(2);
  seeds.Add("dense", dense.SerializeAsString());
  seeds.Add("values", FromText<v1::LearnRequest>(
                          "message { producer_sequence: 2 examples { features { values: [1, -2, "
                          "0.5] shape: [1, 3] } label { text: 'cat' } weight: 0.5 task: 'a' } }"));
  seeds.Add("bytes", FromText<v1::LearnRequest>(
                         "message { producer_sequence: 3 examples { features { dense_uint8: "
                         "'abc' uint8_scale: 0.01 } label { number: -100 } split: HELD_OUT "
                         "subject_id: 's' } }"));
  seeds.Add("boundary", FromText<v1::LearnRequest>(
                            "message { producer_sequence: 4 boundary { next_task: 'b' } }"));
  seeds.Add("hello", FromText<v1::LearnRequest>("hello { model: 'm' producer: 'p' }"));
  seeds.Add("end", FromText<v1::LearnRequest>("end { message_count: 2 crc32: 77 }"));
}

constexpr char kSpec[] =
    "spec { feature_count: 3 mlp { hidden: [4] } optimizer { sgd { momentum: 0.9 } learning_rate: "
    "0.1 } strategies { experience_replay { memory_size: 10 } } strategies { ewc { lambda: 1 } } "
    "label_smoothing: 0.1 }";
constexpr char kTunedSpec[] =
    "spec { feature_count: 3 tune { candidates { name: 'a' spec { label_smoothing: 0.2 } } grid { "
    "parameter: 'learning_rate' values: [0.1, 0.2] } tasks: 2 } augmentation { noise: 0.1 } "
    "penalty_schedule { decay: 0.5 } head { kind: FIXED } labels { number: 1 } labels { number: 2 "
    "} }";

// Behind its name, by which the target knows it.
template <typename Message>
std::string Named(const Message& request) {
  return absl::StrCat(Message::descriptor()->name(), "\n", request.SerializeAsString());
}
template <typename Message>
std::string NamedText(const std::string& text) {
  return absl::StrCat(Message::descriptor()->name(), "\n", FromText<Message>(text));
}

void UnaryRequests(const std::string& root) {
  const SeedFolder seeds(root, "unary_requests");
  const std::string plain = absl::StrCat("name: 'm' ", kSpec);
  const std::string tuned = absl::StrCat("name: 'm' ", kTunedSpec);
  seeds.Add("create", NamedText<v1::CreateModelRequest>(plain));
  seeds.Add("create_tuned", NamedText<v1::CreateModelRequest>(tuned));
  seeds.Add("update", NamedText<v1::UpdateModelRequest>(plain));
  seeds.Add("update_tuned", NamedText<v1::UpdateModelRequest>(tuned));
  seeds.Add("from_weights",
            NamedText<v1::CreateModelFromWeightsRequest>("end { bytes: 5 crc32: 6 }"));
  v1::LearnBatchRequest batch;
  batch.set_model("m");
  batch.set_producer("p");
  batch.set_producer_sequence(1);
  *batch.add_examples() = OneExample(1);
  seeds.Add("learn_batch", Named(batch));
  v1::PredictRequest predict;
  predict.set_model("m");
  predict.mutable_features()->set_dense(testing::ToyRows({kFeatures}, {0, 1}, 1));
  seeds.Add("predict", Named(predict));
  seeds.Add("mark_boundary",
            NamedText<v1::MarkBoundaryRequest>(
                "model: 'm' producer: 'p' producer_sequence: 2 boundary { next_task: 'b' }"));
  seeds.Add("rollback", NamedText<v1::RollbackRequest>(
                            "model: 'm' checkpoint: '01ARZ3NDEKTSV4RRFFQ69G5FAV'"));
  seeds.Add("any", 0, "");
}

void StoredRows(const std::string& root) {
  const SeedFolder seeds(root, "stored_rows");
  // A row without the checksum at its end: the target puts it on.
  const auto body = [](const std::string& sealed) { return sealed.substr(0, sealed.size() - 4); };
  seeds.Add("record", 0, "\x01" + OneExample(1).SerializeAsString());
  seeds.Add("producer", 1, body(storage::EncodeProducerRow("key", {3, 4, 5})));
  seeds.Add("message", 2, body(storage::EncodeMessage("key", {3, 4, 5, 6})));
  seeds.Add("position", 3, body(storage::EncodePosition("key", {3, 4, 5})));
  storage::CheckpointRow row;
  row.format_version = storage::CheckpointStore::kFormatVersion;
  row.label = "label";
  row.file = "file";
  row.sha256 = std::string(64, 'a');
  row.members = {{0, 5, 0}, {0, 9, 0}, {1, 7, 2}};
  seeds.Add("checkpoint", 4, body(storage::EncodeCheckpointRow("key", row)));
  // A whole record of a write-ahead log: CRC, length, type, then a batch of one put.
  std::string batch(12, '\0');
  batch[0] = 1;
  batch[8] = 1;
  batch += std::string("\x01\x01k\x01v", 5);
  std::string record("\0\0\0\0\0\0\x01", 7);
  record[4] = static_cast<char>(batch.size());
  seeds.Add("wal", 5, record + batch);
  std::string text;
  storage::AppendOrderedText(&text, std::string("a\0b", 3));
  seeds.Add("key", 6, text);
  v1::ModelSpec spec;
  spec.set_feature_count(kFeatures);
  spec.set_max_classes(10);
  auto state = server::StreamState::Fresh(spec);
  state.ApplyExample(OneExample(1).label(), "", false);
  seeds.Add("state", 7, state.proto().SerializeAsString());
  seeds.Add("applied_example", 7, std::string(1, '\0') + OneExample(1).SerializeAsString());
  seeds.Add("applied_boundary", 7,
            "\x01" + FromText<internal::BoundaryRecord>("next_task: 'b' ended_task: 'a'"));
}

void Configs(const std::string& root) {
  const SeedFolder seeds(root, "config");
  seeds.Add("models", 2,
            absl::StrCat("models { name: \"m\" ", kSpec, " }\nlimits { queue_bytes: 67108864 }\n",
                         "compute_threads: 1\n"));
  seeds.Add("tuned", 2, absl::StrCat("# a comment\nmodels { name: 'm' ", kTunedSpec, " }"));
  seeds.Add("tls", 3,
            "tls { certificate_file: 'c' key_file: 'k' }\nauthentication { token_file: 't' }\n");
  const std::string hash(64, 'a');
  seeds.Add("tokens", 0, absl::StrCat("# who\nadmin alice ", hash, "\nreader bob ", hash, "\n"));
  seeds.Add("address", 1, "127.0.0.1:7401");
  seeds.Add("address_6", 1, "[::1]:0");
  seeds.Add("address_unix", 1, "unix:socket");
}

void Inferences(const std::string& root) {
  const SeedFolder seeds(root, "inference");
  const std::string input = R"({"name":"features","shape":[1,3],"datatype":)";
  seeds.Add("json", 0,
            R"({"id":"a","inputs":[)" + input + R"("FP32","data":[[1,-2.5,3e1]]}],"outputs":[{)" +
                R"("name":"scores","parameters":{"classification":2,"binary_data":true}}]})");
  seeds.Add("texts", 0, R"({"inputs":[)" + input + R"("BYTES","data":["1","-2.5","3e1"]}]})");
  seeds.Add("binary", 1,
            R"({"parameters":{"task":"t","min_applied_sequence":7},"inputs":[)" + input +
                R"("INT8","parameters":{"binary_data_size":3}}]})" + std::string("\n\1\2\3"));
  const std::string tensor = "inputs { name: 'features' shape: [1, 3] ";
  seeds.Add("typed", 2,
            FromText<inference::ModelInferRequest>(
                absl::StrCat("model_name: 'm' model_version: '7' id: 'a' ", tensor,
                             "datatype: 'UINT8' contents { uint_contents: [1, 2, 255] } } ",
                             "outputs { name: 'label' } parameters { key: 'task' ",
                             "value { string_param: 't' } }")));
  seeds.Add("raw", 2,
            FromText<inference::ModelInferRequest>(absl::StrCat(
                tensor, "datatype: 'BYTES' } raw_input_contents: '\\001\\000\\000\\0001",
                "\\001\\000\\000\\0002\\001\\000\\000\\0003'")));
}

void Checkpoints(const std::string& root) {
  const SeedFolder seeds(root, "checkpoint");
  const SavedState state = Save(*TrainedLearner());
  seeds.Add("tensors", 0, state.saved.tensors);
  seeds.Add("payload", 7, std::string(1, '\0') + state.payloads.at(0).bytes);
}

std::string Layers(testing::SafetensorsFile file, const std::vector<std::string>& names) {
  file.AddFloats(names[0] + ".weight", {4, kFeatures}, std::vector<float>(12, 0.5F));
  file.AddFloats(names[0] + ".bias", {4}, std::vector<float>(4, 0.25F));
  file.AddFloats(names[1] + ".weight", {2, 4}, std::vector<float>(8, -0.5F));
  file.AddFloats(names[1] + ".bias", {2}, std::vector<float>(2, 1));
  if (names.size() < 3) return file.Bytes();
  file.AddFloats(names[2] + ".weight", {2, 2}, std::vector<float>(4, -0.5F));
  file.AddFloats(names[2] + ".bias", {2}, std::vector<float>(2, 1));
  return file.Bytes();
}

void Weights(const std::string& root) {
  const SeedFolder seeds(root, "weights");
  seeds.Add("trunk", 0, Layers({}, {"hidden0", "hidden1"}));
  seeds.Add("sequential", 0, Layers({}, {"net.0", "net.2", "net.4"}));
  seeds.Add("strict", 1, Layers({}, {"hidden0", "hidden1", "head"}));
  testing::SafetensorsFile labelled;
  labelled.Entry("\"__metadata__\":{\"labels\":\"[\\\"0\\\",\\\"1\\\"]\"}");
  seeds.Add("labelled", 1, Layers(labelled, {"hidden0", "hidden1", "head"}));
  testing::SafetensorsFile half;
  half.Add("hidden0.weight", "F16", {4, kFeatures}, std::string(24, '\x3c'));
  half.Add("hidden0.bias", "BF16", {4}, std::string(8, '\x3f'));
  half.Add("hidden1.weight", "F64", {2, 4}, std::string(64, '\x3f'));
  half.Add("hidden1.bias", "F32", {2}, std::string(8, '\0'));
  seeds.Add("types", 0, half.Bytes());
}

// Behind its length, as the target takes it.
std::string Frame(const google::protobuf::Message& part) {
  const std::string bytes = part.SerializeAsString();
  return std::string{static_cast<char>(bytes.size()), static_cast<char>(bytes.size() >> 8)} + bytes;
}

// The chunk and the end record of a file, in the form of either rpc.
template <typename Part>
std::string Frames(const Part& first, const std::string& file) {
  Part chunk;
  chunk.set_chunk(file);
  Part end;
  end.mutable_end()->set_bytes(static_cast<int64_t>(file.size()));
  end.mutable_end()->set_crc32(static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size())));
  return Frame(first) + Frame(chunk) + Frame(end);
}

void Imports(const std::string& root) {
  const SeedFolder seeds(root, "import");
  const std::vector<std::string> names = {"hidden0", "hidden1", "head"};
  const auto exported = [&](const std::string& labels, const std::string& spec) {
    testing::SafetensorsFile file;
    file.Entry(absl::StrCat("\"__metadata__\":{\"model\":\"m\",\"model_version\":\"7\",",
                            "\"labels\":\"", absl::CEscape(labels), "\",\"spec\":\"",
                            absl::CEscape(spec), "\"}"));
    return Layers(file, names);
  };
  const std::string spec = R"({"feature_count":"3","mlp":{"hidden":["4","2"]}})";
  const std::string fixed = R"({"feature_count":"3","mlp":{"hidden":["4","2"]},"head":{"kind":)"
                            R"("FIXED"},"optimizer":{"adam":{}},"label_smoothing":0.1,)"
                            R"("strategies":[{"finetune":{}}],"max_classes":"2"})";
  seeds.Add("exported", 2, exported("[7,-1]", spec));
  seeds.Add("texts", 2, exported(R"(["cat","dog"])", fixed));
  v1::ImportRequest header;
  header.mutable_header()->set_name("m");
  seeds.Add("frames", 0, Frames(header, exported("[7,-1]", spec)));
  v1::ModelSpec* given = header.mutable_header()->mutable_spec();
  ENGRAM_CHECK(google::protobuf::TextFormat::ParseFromString(
      "feature_count: 3 mlp { hidden: [4, 2] } labels { text: 'a' } labels { text: 'b' }", given));
  seeds.Add("with_spec", 0, Frames(header, Layers({}, names)));
  v1::CreateModelFromWeightsRequest create;
  create.mutable_create()->set_name("m");
  *create.mutable_create()->mutable_spec() = *given;
  create.mutable_create()->mutable_weights()->set_scope(v1::PretrainedWeights::STRICT);
  seeds.Add("from_weights", 1, Frames(create, Layers({}, names)));
}

}  // namespace
}  // namespace engram::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_seeds FOLDER\n");
    return 2;
  }
  engram::strategies::SetComputeThreads(1);
  engram::strategies::EnterComputeThread();
  const std::string root = argv[1];
  engram::fuzz::LearnRequests(root);
  engram::fuzz::UnaryRequests(root);
  engram::fuzz::StoredRows(root);
  engram::fuzz::Configs(root);
  engram::fuzz::Inferences(root);
  engram::fuzz::Checkpoints(root);
  engram::fuzz::Weights(root);
  engram::fuzz::Imports(root);
  return 0;
}
