// Every bad input has its answer: code, words and details of the surface's table; and whatever
// came, the server is as it was before.
#include "tests/integration/bad_input.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/raw_call.h"

namespace engram::integration {
namespace {

using testing::Call;
using testing::Stubs;

class BadInputTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
    v1::ModelSpec spec = ToySpec();
    spec.add_strategies()->mutable_ewc()->set_lambda(1);
    model_.Create(spec);
    model_.Learn({0, 1}, 200);
    model_.Boundary("b");
    model_.WaitApplied();
    model_.Checkpoint("kept");
  }

  // All rows, and after each the untouched model.
  void ExpectAllRefused(const std::vector<BadInput>& inputs) {
    const v1::Model before = model_.Describe();
    const std::string bits = ScoreBits(model_.Predict({0, 1, 2}));
    for (const BadInput& input : inputs) {
      ExpectRefused(input, *stubs_);
      const v1::Model after = model_.Describe();
      EXPECT_EQ(after.durable_sequence(), before.durable_sequence()) << input.name;
      EXPECT_EQ(after.version(), before.version()) << input.name;
      EXPECT_EQ(after.state(), v1::Model::SERVING) << input.name;
    }
    EXPECT_EQ(ScoreBits(model_.Predict({0, 1, 2})), bits);
    EXPECT_EQ(model_.Report().train_examples(), 200);
  }

  ToyModel model_{nullptr, "toy"};
};

// A bad example, sent alone by a producer of its own.
BadInput BadExample(const std::string& name, std::vector<std::string> words,
                    const std::function<void(v1::Example*)>& edit) {
  return {name,
          [name, edit](const Stubs& stubs) {
            return LearnOnce(stubs, name, [&](v1::LearnBatchRequest* request) {
              edit(request->mutable_examples(0));
            });
          },
          grpc::INVALID_ARGUMENT, std::move(words)};
}

BadInput BadFeature(const std::string& name, float value, std::vector<std::string> words) {
  return BadExample(name, std::move(words), [value](v1::Example* example) {
    std::vector<float> features = testing::ToyFeatures({}, 0, 1);
    features[5] = value;
    example->mutable_features()->set_dense(testing::DenseBytes(features));
  });
}

BadInput BadShape(const std::string& name, std::vector<int64_t> shape) {
  return BadExample(name, {"shape"}, [shape](v1::Example* example) {
    for (const int64_t dimension : shape) example->mutable_features()->add_shape(dimension);
  });
}

TEST_F(BadInputTest, Features) {
  const float infinity = std::numeric_limits<float>::infinity();
  ExpectAllRefused({
      BadFeature("nan", std::nanf(""), {"features[5]", "NaN"}),
      BadFeature("inf", infinity, {"features[5]", "Inf"}),
      BadFeature("minus-inf", -infinity, {"features[5]", "Inf"}),
      BadFeature("huge", 1e20F, {"features[5]", "1e+20", "1e+06"}),
      BadExample("one-short", {"features", "expected 16 values (model \"toy\"), got 15"},
                 [](v1::Example* e) { e->mutable_features()->mutable_dense()->resize(60); }),
      BadExample("odd-bytes", {"features", "63"},
                 [](v1::Example* e) { e->mutable_features()->mutable_dense()->resize(63); }),
      BadExample("none", {"features"}, [](v1::Example* e) { e->clear_features(); }),
      BadExample("empty-features", {"features"},
                 [](v1::Example* e) { e->mutable_features()->clear_dense(); }),
      BadExample("both-forms", {"features"},
                 [](v1::Example* e) { e->mutable_features()->add_values(1); }),
      BadShape("other-product", {4, 5}),
      BadShape("negative", {-1, -16}),
      BadShape("zero", {0, 16}),
      BadShape("rank-9", {1, 1, 1, 1, 1, 1, 1, 1, 16}),
      BadShape("overflow", {1LL << 33, 1LL << 33}),
  });
}

// `count` bytes of ink, and what `edit` makes of them.
BadInput BadBytes(const std::string& name, size_t count, std::vector<std::string> words,
                  const std::function<void(v1::Features*)>& edit = [](v1::Features*) {}) {
  return BadExample(name, std::move(words), [count, edit](v1::Example* example) {
    example->clear_features();
    example->mutable_features()->set_dense_uint8(std::string(count, '\xff'));
    edit(example->mutable_features());
  });
}

TEST_F(BadInputTest, BytesAsFeatures) {
  const auto scale = [](float value) {
    return [value](v1::Features* features) { features->set_uint8_scale(value); };
  };
  const float infinity = std::numeric_limits<float>::infinity();
  ExpectAllRefused({
      BadBytes("short-bytes", 15, {"features.dense_uint8", "expected 16 bytes", "got 15"}),
      BadBytes("long-bytes", 17, {"features.dense_uint8", "expected 16 bytes", "got 17"}),
      BadBytes("zero-scale", 16, {"uint8_scale", "must be finite and > 0"}, scale(0)),
      BadBytes("negative-scale", 16, {"uint8_scale", "-0.5"}, scale(-0.5F)),
      BadBytes("nan-scale", 16, {"uint8_scale", "nan"}, scale(std::nanf(""))),
      BadBytes("infinite-scale", 16, {"uint8_scale", "inf"}, scale(infinity)),
      BadBytes("large-scale", 16, {"features[0]", "2.55e+07", "1e+06"}, scale(1e5F)),
      BadBytes("bytes-and-dense", 16, {"exactly one of dense, values and dense_uint8"},
               [](v1::Features* features) {
                 features->set_dense(GoodExample().features().dense());
               }),
      BadBytes("bytes-and-values", 16, {"exactly one of"},
               [](v1::Features* features) { features->add_values(1); }),
      BadBytes("bytes-shape", 16, {"shape"},
               [](v1::Features* features) { features->add_shape(15); }),
      BadExample("scale-of-floats", {"uint8_scale", "dense_uint8"},
                 [](v1::Example* e) { e->mutable_features()->set_uint8_scale(1); }),
  });
}

TEST_F(BadInputTest, LabelsWeightsAndNames) {
  const auto weight = [](const std::string& name, float value) {
    return BadExample(name, {"weight"}, [value](v1::Example* e) { e->set_weight(value); });
  };
  ExpectAllRefused({
      BadExample("no-label", {"label", "required"}, [](v1::Example* e) { e->clear_label(); }),
      BadExample("empty-label", {"label"}, [](v1::Example* e) { e->mutable_label()->Clear(); }),
      BadExample("text-label", {"label"},
                 [](v1::Example* e) { e->mutable_label()->set_text("cat"); }),
      weight("weight-zero", 0),
      weight("weight-negative", -1),
      weight("weight-large", 100.5F),
      weight("weight-nan", std::nanf("")),
      BadExample("long-id", {"id"}, [](v1::Example* e) { e->set_id(std::string(129, 'x')); }),
      BadExample("long-subject", {"subject_id"},
                 [](v1::Example* e) { e->set_subject_id(std::string(129, 'x')); }),
      BadExample("path-task", {"task"}, [](v1::Example* e) { e->set_task("../x"); }),
      BadExample("unknown-split", {"split", "7"},
                 [](v1::Example* e) { e->set_split(static_cast<v1::Split>(7)); }),
      BadExample("long-text-label", {"label"},
                 [](v1::Example* e) { e->mutable_label()->set_text(std::string(257, 'x')); }),
  });
}

TEST_F(BadInputTest, Batches) {
  const auto batch = [](const std::string& name, int count, std::vector<std::string> words) {
    return BadInput{name,
                    [name, count](const Stubs& stubs) {
                      return LearnOnce(stubs, name, [&](v1::LearnBatchRequest* request) {
                        request->clear_examples();
                        for (int i = 0; i < count; ++i) *request->add_examples() = GoodExample();
                      });
                    },
                    grpc::INVALID_ARGUMENT, std::move(words)};
  };
  BadInput one_bad = batch("one-of-100", 100, {"99"});
  one_bad.call = [](const Stubs& stubs) {
    return LearnOnce(stubs, "one-of-100", [](v1::LearnBatchRequest* request) {
      for (int i = 0; i < 99; ++i) *request->add_examples() = GoodExample();
      request->mutable_examples(99)->clear_label();
    });
  };
  BadInput other_task{"other-task",
                      [](const Stubs& stubs) {
                        return LearnOnce(stubs, "other-task", [](v1::LearnBatchRequest* request) {
                          request->mutable_examples(0)->set_task("elsewhere");
                        });
                      },
                      grpc::FAILED_PRECONDITION,
                      {"elsewhere"},
                      Detail::kPrecondition};
  ExpectAllRefused({batch("empty", 0, {"empty"}), batch("too-many", 1025, {"1025", "1024"}),
                    one_bad, other_task});
}

BadInput BadProducer(const std::string& producer) {
  return {"producer \"" + producer.substr(0, 10) + "\"",
          [producer](const Stubs& stubs) {
            return LearnOnce(stubs, producer, [](v1::LearnBatchRequest*) {});
          },
          grpc::INVALID_ARGUMENT,
          {"producer"}};
}

TEST_F(BadInputTest, Producers) {
  ExpectAllRefused({
      BadProducer(""),
      BadProducer(std::string(129, 'p')),
      BadProducer("../x"),
      BadProducer("."),
      BadProducer(".."),
      BadProducer("a b"),
      BadProducer("a\nb"),
      BadProducer(std::string("a\0b", 3)),
      BadProducer("\u202Ex"),
  });
}

TEST_F(BadInputTest, ProducerSequences) {
  const auto with = [](const std::string& name, uint64_t sequence, grpc::StatusCode code,
                       Detail detail, const std::string& reason) {
    return BadInput{name,
                    [name, sequence](const Stubs& stubs) {
                      return LearnOnce(stubs, name, [&](v1::LearnBatchRequest* request) {
                        request->set_producer_sequence(sequence);
                      });
                    },
                    code,
                    {},
                    detail,
                    reason};
  };
  BadInput other_content{"other content",
                         [](const Stubs& stubs) {
                           return LearnOnce(stubs, "p", [](v1::LearnBatchRequest* request) {
                             request->set_producer_sequence(2);
                           });
                         },
                         grpc::ALREADY_EXISTS,
                         {"2"},
                         Detail::kReason,
                         "PAYLOAD_MISMATCH"};
  BadInput stale{"stale epoch",
                 [](const Stubs& stubs) {
                   return LearnOnce(stubs, "p", [](v1::LearnBatchRequest* request) {
                     request->set_producer_sequence(4);
                     request->set_epoch(12345);
                   });
                 },
                 grpc::ABORTED,
                 {},
                 Detail::kReason,
                 "STALE_EPOCH"};
  ExpectAllRefused({with("zero", 0, grpc::INVALID_ARGUMENT, Detail::kBadRequest, ""),
                    with("gap", 3, grpc::ABORTED, Detail::kReason, "SEQUENCE_GAP"),
                    with("far", ~0ULL >> 1, grpc::ABORTED, Detail::kReason, "SEQUENCE_GAP"),
                    with("last", ~0ULL, grpc::INVALID_ARGUMENT, Detail::kBadRequest, ""),
                    other_content, stale});
  v1::LearnBatchRequest request;
  request.set_model("toy");
  request.set_producer("p");
  request.set_producer_sequence(9);
  *request.add_examples() = GoodExample();
  const auto gap = Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request);
  const auto why = testing::FindDetail<google::rpc::ErrorInfo>(gap.status);
  ASSERT_TRUE(why.has_value());
  EXPECT_EQ(why->domain(), "engram");
  EXPECT_EQ(why->metadata().at("expectedSequence"), std::to_string(model_.producer_sequence() + 1));
}

template <typename Stub, typename Request, typename Reply>
BadInput BadCall(const std::string& name, std::unique_ptr<Stub> Stubs::*stub,
                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                 const std::function<void(Request*)>& edit, grpc::StatusCode code,
                 std::vector<std::string> words, Detail detail) {
  return {name,
          [=](const Stubs& stubs) {
            Request request;
            edit(&request);
            return Call(*(stubs.*stub), method, request, absl::Seconds(10)).status;
          },
          code, std::move(words), detail};
}

BadInput BadBoundary(const std::string& name, const std::string& next, grpc::StatusCode code,
                     std::vector<std::string> words, Detail detail) {
  return BadCall<v1::Learning::Stub, v1::MarkBoundaryRequest>(
      name, &Stubs::learning, &v1::Learning::Stub::MarkBoundary,
      [name, next](v1::MarkBoundaryRequest* request) {
        request->set_model("toy");
        request->set_producer(name);
        request->set_producer_sequence(1);
        request->mutable_boundary()->set_next_task(next);
      },
      code, std::move(words), detail);
}

TEST_F(BadInputTest, Boundaries) {
  ExpectAllRefused({
      BadBoundary("no-examples", "c", grpc::FAILED_PRECONDITION, {"\"b\"", "0 examples"},
                  Detail::kPrecondition),
      BadBoundary("path", "../x", grpc::INVALID_ARGUMENT, {"next_task"}, Detail::kBadRequest),
      BadBoundary("long", std::string(129, 'x'), grpc::INVALID_ARGUMENT, {"next_task"},
                  Detail::kBadRequest),
  });
}

BadInput BadPredict(const std::string& name, const std::function<void(v1::PredictRequest*)>& edit,
                    grpc::StatusCode code, std::vector<std::string> words, Detail detail) {
  return BadCall<v1::Prediction::Stub, v1::PredictRequest>(
      name, &Stubs::prediction, &v1::Prediction::Stub::Predict,
      [edit](v1::PredictRequest* request) {
        request->set_model("toy");
        request->mutable_features()->set_dense(testing::ToyRows({}, {0}, 1));
        edit(request);
      },
      code, std::move(words), detail);
}

TEST_F(BadInputTest, Predictions) {
  using Request = v1::PredictRequest;
  const auto invalid = [](const std::string& name, const std::function<void(Request*)>& edit,
                          std::vector<std::string> words) {
    return BadPredict(name, edit, grpc::INVALID_ARGUMENT, std::move(words), Detail::kBadRequest);
  };
  const auto rows = [](size_t count) {
    return testing::ToyRows({}, std::vector<int64_t>(count, 0), 1);
  };
  std::vector<float> with_nan = testing::ToyFeatures({}, 0, 1);
  with_nan[3] = std::nanf("");
  const std::string nan_bytes = testing::DenseBytes(with_nan);
  ExpectAllRefused({
      invalid("no features", [](Request* r) { r->clear_features(); }, {"features"}),
      invalid("one short", [](Request* r) { r->mutable_features()->mutable_dense()->resize(60); },
              {"features"}),
      invalid("nan", [&](Request* r) { r->mutable_features()->set_dense(nan_bytes); }, {"NaN"}),
      invalid("short bytes",
              [](Request* r) {
                r->mutable_features()->Clear();
                r->mutable_features()->set_dense_uint8(std::string(17, '\1'));
              },
              {"features.dense_uint8", "17"}),
      invalid("1025 rows", [&](Request* r) { r->mutable_features()->set_dense(rows(1025)); },
              {"1025", "1024"}),
      invalid("top_k 0", [](Request* r) { r->set_top_k(0); }, {"top_k"}),
      invalid("top_k -1", [](Request* r) { r->set_top_k(-1); }, {"top_k"}),
      invalid("top_k 3 of 2", [](Request* r) { r->set_top_k(3); }, {"top_k", "[1,2]"}),
      BadPredict(
          "unknown model", [](Request* r) { r->set_model("nobody"); }, grpc::NOT_FOUND, {"nobody"},
          Detail::kResource),
      BadPredict(
          "unknown task", [](Request* r) { r->set_task("nowhere"); }, grpc::NOT_FOUND, {"nowhere"},
          Detail::kResource),
      BadPredict(
          "unknown version", [](Request* r) { r->set_version(7); }, grpc::NOT_FOUND, {"7"},
          Detail::kResource),
      BadPredict(
          "never applied", [](Request* r) { r->set_min_applied_sequence(5'000'000'000ULL); },
          grpc::OUT_OF_RANGE, {}, Detail::kNone),
  });
}

TEST_F(BadInputTest, Models) {
  using Request = v1::CreateModelRequest;
  const auto create = [](const std::string& name, const std::function<void(Request*)>& edit,
                         std::vector<std::string> words,
                         grpc::StatusCode code = grpc::INVALID_ARGUMENT,
                         Detail detail = Detail::kBadRequest) {
    return BadCall<v1::Models::Stub, Request>(
        name, &Stubs::models, &v1::Models::Stub::CreateModel,
        [edit](Request* request) {
          request->set_name("fresh");
          *request->mutable_spec() = ToySpec();
          edit(request);
        },
        code, std::move(words), detail);
  };
  const auto lr = [&](double rate) {
    return create(
        absl::StrCat("learning rate ", rate),
        [rate](Request* r) { r->mutable_spec()->mutable_optimizer()->set_learning_rate(rate); },
        {"learning_rate"});
  };
  std::vector<BadInput> inputs = {
      create(
          "taken", [](Request* r) { r->set_name("toy"); }, {"toy"}, grpc::ALREADY_EXISTS,
          Detail::kResource),
      create("no features", [](Request* r) { r->mutable_spec()->clear_feature_count(); },
             {"feature_count"}),
      create("too many features", [](Request* r) { r->mutable_spec()->set_feature_count(65537); },
             {"feature_count", "65536"}),
      create("no units", [](Request* r) { r->mutable_spec()->mutable_mlp()->set_hidden(0, 0); },
             {"hidden"}),
      create("batch", [](Request* r) { r->mutable_spec()->set_batch_size(1025); }, {"batch_size"}),
      create("fixed without labels",
             [](Request* r) { r->mutable_spec()->mutable_head()->set_kind(v1::Head::FIXED); },
             {"labels"}),
      create("negative lambda",
             [](Request* r) { r->mutable_spec()->add_strategies()->mutable_ewc()->set_lambda(-1); },
             {"lambda"}),
      create("no memory",
             [](Request* r) {
               r->mutable_spec()->add_strategies()->mutable_experience_replay()->set_memory_size(0);
             },
             {"memory_size"}),
      lr(0),
      lr(-1),
      lr(std::nan("")),
      lr(1e9)};
  for (const std::string& name : {std::string(), std::string("."), std::string(".."),
                                  std::string("../x"), std::string(129, 'm'), std::string("a b")}) {
    inputs.push_back(
        create("name " + name.substr(0, 5), [name](Request* r) { r->set_name(name); }, {"name"}));
  }
  ExpectAllRefused(inputs);
  const auto listed = Call(*stubs_->models, &v1::Models::Stub::ListModels, v1::ListModelsRequest());
  EXPECT_EQ(listed->models_size(), 1);
}

TEST_F(BadInputTest, Checkpoints) {
  using Get = v1::GetCheckpointRequest;
  using Create = v1::CreateCheckpointRequest;
  using Rollback = v1::RollbackRequest;
  const auto get = [](const std::string& id, grpc::StatusCode code, Detail detail) {
    return BadCall<v1::Checkpoints::Stub, Get>(
        "get " + id, &Stubs::checkpoints, &v1::Checkpoints::Stub::GetCheckpoint,
        [id](Get* request) {
          request->set_model("toy");
          request->set_id(id);
        },
        code, {}, detail);
  };
  const auto roll_back = [](const std::string& id, grpc::StatusCode code, Detail detail) {
    return BadCall<v1::Checkpoints::Stub, Rollback>(
        "roll back to " + id, &Stubs::checkpoints, &v1::Checkpoints::Stub::Rollback,
        [id](Rollback* request) {
          request->set_model("toy");
          request->set_checkpoint(id);
        },
        code, {}, detail);
  };
  const auto create = [](const std::string& label, grpc::StatusCode code, Detail detail) {
    return BadCall<v1::Checkpoints::Stub, Create>(
        "create " + label, &Stubs::checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint,
        [label](Create* request) {
          request->set_model("toy");
          request->set_label(label);
        },
        code, {}, detail);
  };
  const std::string unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  ExpectAllRefused({
      get("../../etc/passwd", grpc::INVALID_ARGUMENT, Detail::kBadRequest),
      get("/etc/passwd", grpc::INVALID_ARGUMENT, Detail::kBadRequest),
      get("", grpc::INVALID_ARGUMENT, Detail::kBadRequest),
      get(unknown, grpc::NOT_FOUND, Detail::kResource),
      get("no-such-label", grpc::NOT_FOUND, Detail::kResource),
      roll_back("../kept", grpc::INVALID_ARGUMENT, Detail::kBadRequest),
      roll_back(unknown, grpc::NOT_FOUND, Detail::kResource),
      create("../x", grpc::INVALID_ARGUMENT, Detail::kBadRequest),
      create(std::string(129, 'x'), grpc::INVALID_ARGUMENT, Detail::kBadRequest),
      create("kept", grpc::ALREADY_EXISTS, Detail::kResource),
  });
}

BadInput BadErasure(const std::string& name, const std::function<void(v1::EraseRequest*)>& edit,
                    grpc::StatusCode code, std::vector<std::string> words, Detail detail) {
  return BadCall<v1::Learning::Stub, v1::EraseRequest>(
      name, &Stubs::learning, &v1::Learning::Stub::Erase,
      [edit](v1::EraseRequest* request) {
        request->set_model("toy");
        edit(request);
      },
      code, std::move(words), detail);
}

TEST_F(BadInputTest, Erasures) {
  using Request = v1::EraseRequest;
  ExpectAllRefused({
      BadErasure("everything", [](Request*) {}, grpc::INVALID_ARGUMENT,
                 {"selector", "would match everything"}, Detail::kBadRequest),
      BadErasure("empty", [](Request* request) { request->set_subject_id(""); },
                 grpc::INVALID_ARGUMENT, {"selector", "would match everything"},
                 Detail::kBadRequest),
      BadErasure("nobody's", [](Request* request) { request->set_producer(""); },
                 grpc::INVALID_ARGUMENT, {"selector", "would match everything"},
                 Detail::kBadRequest),
      BadErasure("long", [](Request* request) { request->set_subject_id(std::string(129, 'x')); },
                 grpc::INVALID_ARGUMENT, {"subject_id", "128", "129"}, Detail::kBadRequest),
      BadErasure("no such model",
                 [](Request* request) {
                   request->set_model("nobody");
                   request->set_example_id("x");
                 },
                 grpc::NOT_FOUND, {"nobody"}, Detail::kResource),
  });
}

TEST_F(BadInputTest, Blames) {
  using Request = v1::BlameRequest;
  const auto blame = [](const std::string& name, const std::function<void(Request*)>& edit,
                        grpc::StatusCode code, std::vector<std::string> words, Detail detail) {
    return BadCall<v1::Admin::Stub, Request>(
        name, &Stubs::admin, &v1::Admin::Stub::Blame,
        [edit](Request* request) {
          request->set_model("toy");
          edit(request);
        },
        code, std::move(words), detail);
  };
  ExpectAllRefused({
      blame("no model", [](Request* request) { request->clear_model(); }, grpc::INVALID_ARGUMENT,
            {"model", "required"}, Detail::kBadRequest),
      blame("no such model", [](Request* request) { request->set_model("nobody"); },
            grpc::NOT_FOUND, {"nobody"}, Detail::kResource),
      blame("too many", [](Request* request) { request->set_judged_max(1001); },
            grpc::INVALID_ARGUMENT, {"judged_max", "1000", "1001"}, Detail::kBadRequest),
      blame("before 1970", [](Request* request) { request->set_since_ms(-1); },
            grpc::INVALID_ARGUMENT, {"since_ms", "-1"}, Detail::kBadRequest),
      blame("beyond any log", [](Request* request) { request->set_from_sequence(5'000'000'000); },
            grpc::OUT_OF_RANGE, {"5000000000"}, Detail::kNone),
  });
}

TEST_F(BadInputTest, SequencesThatCanNeverBe) {
  const auto wait = BadCall<v1::Learning::Stub, v1::WaitAppliedRequest>(
      "wait", &Stubs::learning, &v1::Learning::Stub::WaitApplied,
      [](v1::WaitAppliedRequest* request) {
        request->set_model("toy");
        request->set_sequence(5'000'000'000ULL);
      },
      grpc::OUT_OF_RANGE, {}, Detail::kNone);
  ExpectAllRefused({wait});
}

BadInput RawBody(const std::string& name, const std::string& method, const std::string& body,
                 grpc::StatusCode code, std::vector<std::string> words, Detail detail) {
  return {name,
          [=](const Stubs& stubs) { return testing::CallRaw(stubs.channel, method, body).status; },
          code, std::move(words), detail};
}

TEST_F(BadInputTest, BytesThatAreNoMessage) {
  const std::string garbage("\x0a\xff\xff\xff\xff\x0f", 6);
  std::vector<BadInput> inputs;
  for (const char* method :
       {"Models/CreateModel", "Models/GetModel", "Learning/LearnBatch", "Learning/MarkBoundary",
        "Learning/WaitApplied", "Learning/Erase", "Prediction/Predict", "Evaluation/GetReport",
        "Evaluation/Evaluate", "Checkpoints/CreateCheckpoint", "Checkpoints/Rollback"}) {
    inputs.push_back(RawBody(method, absl::StrCat("/engram.v1.", method), garbage,
                             grpc::INVALID_ARGUMENT, {"not a valid", "Request", "6 bytes"},
                             Detail::kNone));
  }
  v1::LearnBatchRequest large;
  large.set_model("toy");
  large.add_examples()->mutable_features()->set_dense(std::string(5 << 20, 'x'));
  inputs.push_back(RawBody("5 MiB", "/engram.v1.Learning/LearnBatch", large.SerializeAsString(),
                           grpc::RESOURCE_EXHAUSTED, {"larger than max"}, Detail::kNone));
  inputs.push_back(RawBody("unknown method", "/engram.v1.Learning/Unlearn", "", grpc::UNIMPLEMENTED,
                           {}, Detail::kNone));
  inputs.push_back(RawBody("a path as a method", "/../../etc/passwd", "", grpc::UNIMPLEMENTED, {},
                           Detail::kNone));
  ExpectAllRefused(inputs);
}

TEST_F(BadInputTest, CompressedMessagesAreRefusedBeforeTheyAreInflated) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::PredictRequest request;
  request.set_model("toy");
  request.mutable_features()->set_dense(std::string(1 << 20, '\0'));
  v1::PredictResponse response;
  const grpc::Status status = stubs_->prediction->Predict(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED) << status.error_message();
}

TEST_F(BadInputTest, ErrorTextsKeepTheServersSecrets) {
  v1::GetModelRequest request;
  request.set_name(std::string("a\nb\x1b[31m", 8) + std::string(500, 'x'));
  const auto refused = Call(*stubs_->models, &v1::Models::Stub::GetModel, request);
  for (const char c : refused.status.error_message()) {
    ASSERT_TRUE(c >= ' ' && c <= '~') << refused.status.error_message();
  }
  EXPECT_LT(refused.status.error_message().size(), 400u);
  EXPECT_EQ(refused.status.error_message().find(options_.data_dir), std::string::npos);
}

}  // namespace
}  // namespace engram::integration
