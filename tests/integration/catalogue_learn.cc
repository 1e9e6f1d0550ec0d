// Numbers 21-58: examples, messages, producers, streams, boundaries.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/integration/bad_input.h"
#include "tests/integration/catalogue.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

using testing::Call;

// One message to "toy" by a producer of its own.
grpc::Status Learn(CatalogueRig* rig, const std::function<void(v1::LearnBatchRequest*)>& edit) {
  return LearnOnce(rig->stubs(), rig->NewProducer(), edit);
}

grpc::Status LearnExample(CatalogueRig* rig, const std::function<void(v1::Example*)>& edit) {
  return Learn(rig, [&](v1::LearnBatchRequest* request) { edit(request->mutable_examples(0)); });
}

grpc::Status LearnFeature(CatalogueRig* rig, int index, float value) {
  return LearnExample(rig, [&](v1::Example* example) {
    std::vector<float> features = testing::ToyFeatures({}, 0, 1);
    features[static_cast<size_t>(index)] = value;
    example->mutable_features()->set_dense(testing::DenseBytes(features));
  });
}

grpc::Status LearnShape(CatalogueRig* rig, const std::vector<int64_t>& shape) {
  return LearnExample(rig, [&](v1::Example* example) {
    for (const int64_t each : shape) example->mutable_features()->add_shape(each);
  });
}

grpc::Status LearnLabel(CatalogueRig* rig, const std::string& model, int64_t label) {
  return Learn(rig, [&](v1::LearnBatchRequest* request) {
    request->set_model(model);
    request->mutable_examples(0)->mutable_label()->set_number(label);
  });
}

int64_t Learned(CatalogueRig* rig) {
  rig->toy().WaitApplied();
  return rig->toy().Report().train_examples();
}

// --- examples ---

void NaN(CatalogueRig* rig) {
  rig->Expect("NaN", LearnFeature(rig, 5, std::nanf("")), grpc::INVALID_ARGUMENT,
              {"examples[0].features[5]", "is NaN"});
}

void Infinite(CatalogueRig* rig) {
  const float infinity = std::numeric_limits<float>::infinity();
  rig->Expect("+Inf", LearnFeature(rig, 0, infinity), grpc::INVALID_ARGUMENT,
              {"examples[0].features[0]", "is Inf"});
  rig->Expect("-Inf", LearnFeature(rig, 0, -infinity), grpc::INVALID_ARGUMENT,
              {"examples[0].features[0]", "is -Inf"});
}

void Huge(CatalogueRig* rig) {
  rig->Expect("1e20", LearnFeature(rig, 5, 1e20F), grpc::INVALID_ARGUMENT,
              {"examples[0].features[5]", "1e+20 exceeds max_abs_feature 1e+06"});
  rig->Expect("-3e38", LearnFeature(rig, 5, -3e38F), grpc::INVALID_ARGUMENT,
              {"examples[0].features[5]", "-3e+38 exceeds max_abs_feature 1e+06"});
  rig->ExpectOk("1e6, the limit", LearnFeature(rig, 5, 1e6F));
}

// Seconds that a model takes for 2 000 examples of these values.
double SecondsToLearn(CatalogueRig* rig, const std::string& name, float value) {
  ToyModel model = rig->Model(name, [](v1::ModelSpec* spec) {
    spec->mutable_mlp()->set_hidden(0, 256);
  });
  const std::string bytes = testing::DenseBytes(std::vector<float>(16, value));
  const absl::Time begun = absl::Now();
  for (int i = 0; i < 2; ++i) {
    v1::LearnBatchRequest request;
    for (int j = 0; j < 1000; ++j) {
      v1::Example* example = request.add_examples();
      example->mutable_features()->set_dense(bytes);
      example->mutable_label()->set_number(j % 2);
    }
    EXPECT_TRUE(model.Send(request).ok());
  }
  model.WaitApplied();
  return absl::ToDoubleSeconds(absl::Now() - begun);
}

void Denormal(CatalogueRig* rig) {
  rig->ExpectOk("1e-40", LearnFeature(rig, 5, 1e-40F));
  const double usual = SecondsToLearn(rig, "usual", 0.5F);
  const double denormal = SecondsToLearn(rig, "denormal", 1e-40F);
  std::printf("      %.2f s for 2 000 of them, %.2f s for usual ones\n", denormal, usual);
  EXPECT_LT(denormal, 3 * usual + 0.5) << "they are accepted, and must not cost more";
}

void WrongCount(CatalogueRig* rig) {
  rig->Expect("15 values for 16",
              LearnExample(rig, [](v1::Example* e) {
                e->mutable_features()->mutable_dense()->resize(60);
              }),
              grpc::INVALID_ARGUMENT,
              {"examples[0].features", "expected 16 values (model \"toy\"), got 15"});
}

void Shapes(CatalogueRig* rig) {
  const std::string field = "examples[0].features.shape";
  rig->Expect("[2^33,2^33]", LearnShape(rig, {1LL << 33, 1LL << 33}), grpc::INVALID_ARGUMENT,
              {field, "dimension 8589934592 makes the product exceed 2^63 - 1"});
  rig->Expect("[-1,-16]", LearnShape(rig, {-1, -16}), grpc::INVALID_ARGUMENT,
              {field, "at least 1, got -1"});
  rig->Expect("[0,16]", LearnShape(rig, {0, 16}), grpc::INVALID_ARGUMENT,
              {field, "at least 1, got 0"});
  rig->Expect("rank 9", LearnShape(rig, {1, 1, 1, 1, 1, 1, 1, 1, 16}), grpc::INVALID_ARGUMENT,
              {field, "rank is at most 8, got 9"});
  rig->Expect("[4,5] of 16 values", LearnShape(rig, {4, 5}), grpc::INVALID_ARGUMENT,
              {field, "20", "16 values"});
}

void RawBytes(CatalogueRig* rig) {
  rig->Expect("63 bytes for 64",
              LearnExample(rig, [](v1::Example* e) {
                e->mutable_features()->mutable_dense()->resize(63);
              }),
              grpc::INVALID_ARGUMENT,
              {"examples[0].features.dense", "expected 64 bytes (model \"toy\"), got 63"});
  rig->Expect("15 bytes of dense_uint8",
              LearnExample(rig, [](v1::Example* e) {
                e->mutable_features()->Clear();
                e->mutable_features()->set_dense_uint8(std::string(15, '\1'));
              }),
              grpc::INVALID_ARGUMENT,
              {"examples[0].features.dense_uint8", "expected 16 bytes", "got 15"});
}

void FixedModel(CatalogueRig* rig) {
  rig->Model("fixed", [](v1::ModelSpec* spec) {
    spec->mutable_head()->set_kind(v1::Head::FIXED);
    for (int64_t label = 0; label < 3; ++label) spec->add_labels()->set_number(label);
  });
}

void UnknownLabels(CatalogueRig* rig) {
  FixedModel(rig);
  rig->Expect("fixed head, label 7", LearnLabel(rig, "fixed", 7), grpc::INVALID_ARGUMENT,
              {"examples[0].label", "7 is not among the 3 labels of model \"fixed\" (0 ... 2)"});
  rig->Model("small", [](v1::ModelSpec* spec) { spec->set_max_classes(2); });
  rig->ExpectOk("growing head, first class", LearnLabel(rig, "small", 5));
  rig->ExpectOk("second of two", LearnLabel(rig, "small", 6));
  rig->Expect("a third", LearnLabel(rig, "small", 7), grpc::RESOURCE_EXHAUSTED,
              {"examples[0].label", "class 3 exceeds max_classes 2 (model \"small\")"});
}

void MinusHundred(CatalogueRig* rig) {
  rig->Expect("fixed head", LearnLabel(rig, "fixed", -100), grpc::INVALID_ARGUMENT,
              {"examples[0].label", "-100 is not among the 3 labels"});
  rig->Model("growing");
  rig->ExpectOk("growing head: a class like another", LearnLabel(rig, "growing", -100));
}

void MissingLabel(CatalogueRig* rig) {
  rig->Expect("none", LearnExample(rig, [](v1::Example* e) { e->clear_label(); }),
              grpc::INVALID_ARGUMENT, {"examples[0].label: required"});
  rig->ExpectOk("0", LearnLabel(rig, "toy", 0));
}

void Weights(CatalogueRig* rig) {
  for (const float weight : {std::nanf(""), -1.0F, 0.0F, 1e30F, 100.5F}) {
    rig->Expect(absl::StrCat(weight),
                LearnExample(rig, [weight](v1::Example* e) { e->set_weight(weight); }),
                grpc::INVALID_ARGUMENT,
                {"examples[0].weight", absl::StrCat("must be in (0, 100], got ", weight)});
  }
  rig->ExpectOk("100, the limit", LearnExample(rig, [](v1::Example* e) { e->set_weight(100); }));
}

// --- messages ---

grpc::Status LearnMany(CatalogueRig* rig, int count, int bad = -1) {
  return Learn(rig, [&](v1::LearnBatchRequest* request) {
    request->clear_examples();
    for (int i = 0; i < count; ++i) *request->add_examples() = GoodExample();
    if (bad >= 0) request->mutable_examples(bad)->clear_label();
  });
}

void EmptyBatch(CatalogueRig* rig) {
  rig->Expect("no example", LearnMany(rig, 0), grpc::INVALID_ARGUMENT,
              {"examples: batch is empty"});
}

void LargeBatch(CatalogueRig* rig) {
  const int64_t before = Learned(rig);
  rig->Expect("1 025", LearnMany(rig, 1025), grpc::INVALID_ARGUMENT,
              {"examples: batch 1025 exceeds 1024"});
  EXPECT_EQ(Learned(rig), before);
  rig->ExpectOk("1 024", LearnMany(rig, 1024));
}

void OneBadOfMany(CatalogueRig* rig) {
  const int64_t before = Learned(rig);
  rig->Expect("the 58th of 100", LearnMany(rig, 100, 57), grpc::INVALID_ARGUMENT,
              {"examples[57].label: required"});
  EXPECT_EQ(Learned(rig), before) << "nothing of it is stored";
}

void Producers(CatalogueRig* rig) {
  const auto by = [rig](const std::string& name) {
    return LearnOnce(rig->stubs(), name, [](v1::LearnBatchRequest*) {});
  };
  const std::vector<std::pair<std::string, std::string>> names = {
      {"empty", ""},        {"129 bytes", std::string(129, 'p')},
      {"../x", "../x"},     {"..", ".."},
      {".", "."},           {"NUL", std::string("a\0b", 3)},
      {"newline", "a\nb"},  {"right to left", "\u202Ex"}};
  for (const auto& [what, name] : names) {
    rig->Expect(what, by(name), grpc::INVALID_ARGUMENT,
                {"producer: must match [A-Za-z0-9._-]{1,128}", "got \""});
  }
  rig->ExpectOk("128 bytes", by(std::string(128, 'p')));
}

// --- a producer's sequence ---

v1::LearnBatchRequest MessageOf(const std::string& producer, uint64_t sequence) {
  v1::LearnBatchRequest request;
  request.set_model("toy");
  request.set_producer(producer);
  request.set_producer_sequence(sequence);
  *request.add_examples() = GoodExample();
  return request;
}

testing::Outcome<v1::LearnBatchResponse> Send(CatalogueRig* rig,
                                              const v1::LearnBatchRequest& request) {
  return Call(*rig->stubs().learning, &v1::Learning::Stub::LearnBatch, request);
}

void Repeat(CatalogueRig* rig) {
  const auto first = Send(rig, MessageOf("repeats", 1));
  rig->ExpectOk("sequence 1", first.status);
  const auto again = Send(rig, MessageOf("repeats", 1));
  rig->ExpectOk("sequence 1 again", again.status);
  EXPECT_FALSE(first->duplicate());
  EXPECT_TRUE(again->duplicate());
  EXPECT_EQ(again->first_sequence(), first->first_sequence());
}

void OtherContent(CatalogueRig* rig) {
  v1::LearnBatchRequest other = MessageOf("repeats", 1);
  other.mutable_examples(0)->set_weight(2);
  const grpc::Status status = Send(rig, other).status;
  rig->Expect("sequence 1, other content", status, grpc::ALREADY_EXISTS,
              {"sequence 1 already stored with a different payload"});
  EXPECT_EQ(testing::Reason(status), "PAYLOAD_MISMATCH");
}

void Gap(CatalogueRig* rig) {
  const grpc::Status status = Send(rig, MessageOf("repeats", 4)).status;
  rig->Expect("sequence 4 after 1", status, grpc::ABORTED, {"expected sequence 2, got 4"});
  EXPECT_EQ(testing::Reason(status), "SEQUENCE_GAP");
}

void StrangeSequences(CatalogueRig* rig) {
  for (const uint64_t sequence : {uint64_t{0}, ~uint64_t{0}}) {
    rig->Expect(absl::StrCat(sequence), Send(rig, MessageOf("repeats", sequence)).status,
                grpc::INVALID_ARGUMENT,
                {absl::StrCat("producer_sequence: counts from 1, got ", sequence)});
  }
  rig->Expect("2^63", Send(rig, MessageOf("repeats", uint64_t{1} << 63)).status, grpc::ABORTED,
              {"expected sequence 2, got 9223372036854775808"});
}

v1::LearnMessage Message(uint64_t sequence) {
  v1::LearnMessage message;
  message.set_producer_sequence(sequence);
  *message.add_examples() = GoodExample();
  return message;
}

void Fenced(CatalogueRig* rig) {
  testing::LearnSession old(rig->stubs().channel);
  testing::LearnSession young(rig->stubs().channel);
  ASSERT_TRUE(old.Open("toy", "fenced"));
  ASSERT_TRUE(young.Open("toy", "fenced"));
  old.Write(Message(1));
  const grpc::Status status = old.Finish();
  rig->Expect("the older of two streams", status, grpc::ABORTED,
              {absl::StrCat("stream taken over by epoch ", young.welcome().epoch())});
  EXPECT_EQ(testing::Reason(status), "STALE_EPOCH");
}

void AckAhead(CatalogueRig* rig) {
  ToyModel model = rig->Model("lost");
  model.Learn({0, 1}, 20);
  testing::LearnSession session(rig->stubs().channel);
  EXPECT_FALSE(session.Open("lost", "p", 99));
  const grpc::Status status = session.Finish();
  rig->Expect("a hello that holds ack 99", status, grpc::DATA_LOSS,
              {"holds ack 99", "server has 1"});
  EXPECT_EQ(testing::Reason(status), "ACK_AHEAD");
  rig->Expect("and from then on", LearnLabel(rig, "lost", 0), grpc::FAILED_PRECONDITION,
              {"holds ack 99, server has 1"});
  v1::AcknowledgeLossRequest request;
  request.set_model("lost");
  rig->ExpectOk("an admin acknowledges",
                Call(*rig->stubs().admin, &v1::Admin::Stub::AcknowledgeLoss, request).status);
  rig->ExpectOk("learning goes on", LearnLabel(rig, "lost", 0));
}

// --- streams ---

void BadFrames(CatalogueRig* rig) {
  testing::LearnSession session(rig->stubs().channel);
  ASSERT_TRUE(session.Open("toy", "frames"));
  v1::LearnMessage bad = Message(1);
  bad.mutable_examples(0)->clear_label();
  ASSERT_TRUE(session.Write(bad) && session.Write(Message(2)));
  v1::LearnAck ack;
  ASSERT_TRUE(session.ReadUntil(2, &ack)) << "a frame that parses leaves it open";
  ASSERT_EQ(ack.rejections_size(), 1);
  const google::rpc::Status& rejection = ack.rejections(0).status();
  rig->Expect("a frame without a label",
              grpc::Status(static_cast<grpc::StatusCode>(rejection.code()), rejection.message()),
              grpc::INVALID_ARGUMENT, {"examples[0].label: required"});
  session.WriteFrame("\xff\xff");
  rig->Expect("a frame that is no message", session.Finish(), grpc::INVALID_ARGUMENT,
              {"message 4 is not a valid LearnRequest (2 bytes)"});
  EXPECT_TRUE(Send(rig, MessageOf("frames", 2))->duplicate()) << "what was acked stays";
}

void WithoutEnd(CatalogueRig* rig) {
  testing::LearnSession session(rig->stubs().channel);
  ASSERT_TRUE(session.Open("toy", "endless"));
  session.Write(Message(1));
  v1::LearnAck ack;
  ASSERT_TRUE(session.ReadUntil(1, &ack));
  session.CloseWithoutEnd();
  const grpc::Status status = session.Finish();
  rig->Expect("no end record", status, grpc::ABORTED,
              {"without its end record after 1 messages", "durable_sequence="});
  EXPECT_EQ(testing::Reason(status), "NO_END");
}

void WrongEnds(CatalogueRig* rig) {
  for (const bool count : {true, false}) {
    testing::LearnSession session(rig->stubs().channel);
    ASSERT_TRUE(session.Open("toy", rig->NewProducer()));
    session.Write(Message(1));
    session.End(count ? 1 : 0, count ? 0 : 1);
    const grpc::Status status = session.Finish();
    rig->Expect(count ? "one more counted" : "another CRC-32", status, grpc::DATA_LOSS,
                count ? std::vector<std::string>{"client sent 2 messages, server received 1"}
                      : std::vector<std::string>{"CRC-32", "server received"});
    EXPECT_EQ(testing::Reason(status), "END_MISMATCH");
  }
}

// The shim plays the disk; with room again, learning goes on by itself.
void LowDisk(CatalogueRig* rig) {
  constexpr int64_t kMiB = 1 << 20;
  testing::ServerProcess& server = rig->faulty();
  const testing::Stubs stubs(server.NewChannel());
  ToyModel model(&stubs, "disk");
  model.Create(ToySpec());
  model.Learn({0, 1}, 20);
  model.WaitApplied();
  model.Checkpoint();
  const auto learn = [&](uint64_t sequence) {
    v1::LearnBatchRequest request = MessageOf("q", sequence);
    request.set_model("disk");
    return Call(*stubs.learning, &v1::Learning::Stub::LearnBatch, request).status;
  };
  rig->faults().PlayFreeBytes(91 * kMiB);
  absl::SleepFor(absl::Milliseconds(300));  // the disk is measured every 100 ms at most
  const grpc::Status status = learn(1);
  rig->Expect("91 MiB free", status, grpc::RESOURCE_EXHAUSTED,
              {"free space 9", " MiB below reserve 512 MiB"});
  EXPECT_TRUE(testing::FindDetail<google::rpc::RetryInfo>(status).has_value());
  EXPECT_EQ(model.Predict({0, 1}).predictions_size(), 2) << "predictions go on";
  rig->faults().PlayFreeBytes(-1);
  absl::SleepFor(absl::Milliseconds(300));
  rig->ExpectOk("with room again", learn(1));
}

void Times(CatalogueRig* rig) {
  for (const auto& [what, time] : std::vector<std::pair<std::string, int64_t>>{
           {"the year 9999", 253402300799000},
           {"before 1970", -1},
           {"the least", std::numeric_limits<int64_t>::min()}}) {
    rig->ExpectOk(what, LearnExample(rig, [time = time](v1::Example* e) {
                    e->set_event_time_ms(time);
                  }));
  }
}

void OtherTask(CatalogueRig* rig) {
  const auto learn = [rig](v1::Split split) {
    return LearnExample(rig, [split](v1::Example* example) {
      example->set_task("elsewhere");
      example->set_split(split);
    });
  };
  rig->Expect("TRAIN", learn(v1::TRAIN), grpc::FAILED_PRECONDITION,
              {"examples[0].task", "expected the current task \"b\", got \"elsewhere\""});
  rig->ExpectOk("HELD_OUT", learn(v1::HELD_OUT));
}

// --- boundaries ---

testing::Outcome<v1::MarkBoundaryResponse> Boundary(CatalogueRig* rig, const std::string& model,
                                                    uint64_t sequence, const std::string& next) {
  v1::MarkBoundaryRequest request;
  request.set_model(model);
  request.set_producer("p");
  request.set_producer_sequence(sequence);
  request.mutable_boundary()->set_next_task(next);
  return Call(*rig->stubs().learning, &v1::Learning::Stub::MarkBoundary, request);
}

void EmptyTask(CatalogueRig* rig) {
  ToyModel model = rig->Model("tasks", [](v1::ModelSpec* spec) { spec->set_first_task("one"); });
  rig->Expect("no example yet", Boundary(rig, "tasks", 1, "two").status,
              grpc::FAILED_PRECONDITION, {"task \"one\" has 0 examples"});
  v1::LearnBatchRequest request = MessageOf("p", 2);
  request.set_model("tasks");
  rig->ExpectOk("an example", Send(rig, request).status);
  rig->ExpectOk("the boundary", Boundary(rig, "tasks", 3, "two").status);
  const auto again = Boundary(rig, "tasks", 3, "two");
  rig->ExpectOk("the same again", again.status);
  EXPECT_TRUE(again->duplicate());
}

void TooManyTasks(CatalogueRig* rig) {
  uint64_t sequence = 3;
  const auto learn = [&] {
    v1::LearnBatchRequest request = MessageOf("p", ++sequence);
    request.set_model("tasks");
    return Send(rig, request).status;
  };
  rig->ExpectOk("an example", learn());
  rig->ExpectOk("the third task of three", Boundary(rig, "tasks", ++sequence, "three").status);
  rig->ExpectOk("an example", learn());
  rig->Expect("a fourth", Boundary(rig, "tasks", ++sequence, "four").status,
              grpc::RESOURCE_EXHAUSTED, {"task limit 3 (model \"tasks\")", "raise limits.tasks"});
}

}  // namespace

std::vector<Entry> LearnEntries() {
  return {
      {21, "a feature that is NaN", NaN},
      {22, "an infinite feature", Infinite},
      {23, "a feature above max_abs_feature", Huge},
      {24, "denormal features, which are kept as they are", Denormal},
      {25, "a wrong number of features", WrongCount},
      {26, "a shape that cannot be", Shapes, {"AdmissionTest.RefusesShapesThatCannotBe"}},
      {27, "a wrong number of bytes", RawBytes, {"BadInputTest.BytesAsFeatures"}},
      {28, "a label that the model cannot have", UnknownLabels},
      {29, "the label -100", MinusHundred},
      {30, "no label", MissingLabel},
      {31, "a soft label", nullptr, {}, "a label of the API is one number or one text"},
      {32, "a weight outside (0, 100]", Weights},
      {33, "an empty batch", EmptyBatch},
      {34, "a batch of 1 025", LargeBatch},
      {35, "one bad example of 100", OneBadOfMany},
      {36, "a producer's name", Producers},
      {37, "a repeated sequence", Repeat, {"AdmissionTest.RepeatsSurviveARestart"}},
      {38, "a repeated sequence with other content", OtherContent},
      {39, "a gap in the sequence", Gap},
      {40, "a sequence that cannot be", StrangeSequences},
      {41, "a producer that was fenced off", Fenced},
      {42, "an ack that the server does not have", AckAhead,
       {"OperationsTest.ALossLocksLearningThroughKillNineUntilItIsAcknowledged"}},
      {43, "a bad frame in a stream", BadFrames},
      {44, "a stream without its end record", WithoutEnd},
      {45, "an end record that does not match", WrongEnds},
      {46, "an idle stream", nullptr,
       {"LearnStreamTest.IdleStreamsCostNoThreadsAndPredictionsGoOn"},
       "a peer that died is found by HTTP/2 pings after 70 s, which no suite waits for"},
      {47, "acks that nobody reads", nullptr,
       {"LearnStreamTest.AcksThatNobodyReadsCloseTheStream"}},
      {48, "examples above the caller's rate", nullptr,
       {"LimitsTest.AtEachQuotaAllIsWellAndOnePastItIsRefused",
        "QuotaTest.ARateThatIsUsedUpIsToldAndOthersAreUnaffected"}},
      {49, "a full queue", nullptr,
       {"SampleLogFaultTest.AFullQueueRefusesAndStoresNothing",
        "AdmissionTest.AFullQueueDoesNotUseUpTheSequence",
        "LearnStreamTest.AQueueThatStaysFullClosesTheStream"}},
      {50, "a disk below its reserve", LowDisk, {"disk_full"}},
      {51, "an event time out of this world", Times},
      {52, "an example of another task", OtherTask},
      {53, "a boundary before any example", EmptyTask,
       {"AdmissionTest.ARepeatedBoundaryStillNamesItsTasks"}},
      {56, "one task too many", TooManyTasks},
      {58, "too many boundaries", nullptr,
       {"LimitsTest.AtEachQuotaAllIsWellAndOnePastItIsRefused",
        "StreamLimitTest.ABoundaryTooManyIsToldAtOnce"}},
  };
}

}  // namespace engram::integration
