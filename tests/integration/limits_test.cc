// Every limit that the server tells of: at it all is well, one past it the answer names the limit
// and the value.
#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/learn_stream.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

using testing::Call;
using testing::Stubs;

// Of what GetLimits tells and no call of the tables below meets.
const std::map<std::string, std::string>& MetElsewhere() {
  static const auto* const where = new std::map<std::string, std::string>{
      {"queue_bytes", "SampleLogTest.AFullQueueIsRefused"},
      {"disk_reserve_bytes", "SampleLogTest.LowDiskRefusesAndRecoversByItself"},
      {"weights_bytes", "WeightsTest"},
      {"log_seconds", "a setting: LogRetentionTest"},
      {"log_bytes", "a setting: LogRetentionTest"},
      {"producer_idle_seconds", "a setting: AdmissionTest"},
      {"trainer_threads", "a setting"},
      {"compute_threads", "a setting"},
      {"live_evaluation_share", "a setting"},
      {"unacked_bytes", "LearnStreamTest.ReadingStopsAtTheUnackedLimit"},
      {"unacked_messages", "LearnStreamTest.ReadingStopsAtTheUnackedLimit"},
      {"in_flight_bytes", "StreamLimitTest.BytesInFlightHoldAStreamUntilTheyAreDurable"},
      {"quota.in_flight_bytes", "QuotaTest.BytesComeBackWithTheirHold"},
      {"write_patience", "LearnStreamTest.AcksThatNobodyReadsCloseTheStream"},
      {"http_calls", "PagesTest.CallsLeaveRoomForProbes"},
      {"http_bytes", "PagesTest.CallsShareTheMemoryThatTheyMayHold"},
      {"http_body_bytes", "RestTest.ABodyHasALimit"},
      {"http_body_patience", "HttpTest.ABodyMayPauseForItsPatienceAndNoLonger"},
      {"connection_age", "ConnectionAgeTest"},
      {"connection_grace", "ConnectionAgeTest"},
      {"waiting_predictions", "CallPoolTest.RefusesBeyondItsQueueAndRunsWhatItTook"},
      {"waiting_calls", "CallPoolTest.RefusesBeyondItsQueueAndRunsWhatItTook"},
  };
  return *where;
}

struct Limit {
  std::string name;  // as GetLimits tells it
  std::function<grpc::Status()> at;
  std::function<grpc::Status()> past;
  std::string words;
  grpc::StatusCode code = grpc::RESOURCE_EXHAUSTED;
};

class LimitsTest : public ServerTest {
 protected:
  void StartWith(const std::string& config) {
    options_.config = config;
    options_.data_dir = scratch_.Subfolder("limited");
    StartServer();
  }
  void SetUp() override {}

  void ExpectAll(const std::vector<Limit>& limits) {
    for (const Limit& limit : limits) {
      SCOPED_TRACE(limit.name);
      const grpc::Status at = limit.at();
      EXPECT_TRUE(at.ok()) << at.error_message();
      const grpc::Status past = limit.past();
      EXPECT_EQ(past.error_code(), limit.code) << past.error_message();
      EXPECT_NE(past.error_message().find(limit.words), std::string::npos)
          << past.error_message();
      tried_.insert(limit.name);
    }
  }

  // Every limit that the server tells, a caller's own or not, was tried or has its test elsewhere.
  void ExpectTold(bool of_callers) {
    const auto told =
        Call(*stubs_->admin, &v1::Admin::Stub::GetLimits, v1::GetLimitsRequest());
    EXPECT_GT(told->limits_size(), 30);
    for (const v1::Limit& limit : told->limits()) {
      if (absl::StartsWith(limit.name(), "quota.") != of_callers) continue;
      EXPECT_EQ(tried_.count(limit.name()) + MetElsewhere().count(limit.name()), 1u)
          << limit.name() << " is told and not tested, or both";
    }
  }

  grpc::Status Create(const std::string& name, int64_t features = 16) {
    v1::CreateModelRequest request;
    request.set_name(name);
    *request.mutable_spec() = ToySpec();
    request.mutable_spec()->set_feature_count(features);
    return Call(*stubs_->models, &v1::Models::Stub::CreateModel, request).status;
  }
  grpc::Status Learn(const std::string& model, const std::string& producer, uint64_t sequence,
                     int count) {
    v1::LearnBatchRequest request;
    request.set_model(model);
    request.set_producer(producer);
    request.set_producer_sequence(sequence);
    for (int i = 0; i < count; ++i) {
      const uint64_t index = sequence * 1000 + static_cast<uint64_t>(i);
      *request.add_examples() = testing::ToyExample({}, 0, index);
    }
    return Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request).status;
  }
  // An example, so that there is something to end, and the boundary.
  grpc::Status EndTask(const std::string& model, const std::string& producer, uint64_t sequence,
                       const std::string& next) {
    const grpc::Status learned = Learn(model, producer, sequence, 1);
    if (!learned.ok()) return learned;
    v1::MarkBoundaryRequest request;
    request.set_model(model);
    request.set_producer(producer);
    request.set_producer_sequence(sequence + 1);
    request.mutable_boundary()->set_next_task(next);
    return Call(*stubs_->learning, &v1::Learning::Stub::MarkBoundary, request).status;
  }
  grpc::Status Checkpoint(const std::string& model, uint64_t min_applied = 0) {
    v1::CreateCheckpointRequest request;
    request.set_model(model);
    request.set_min_applied_sequence(min_applied);
    return Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request).status;
  }
  grpc::Status Wait(const Stubs& stubs, const std::string& model, uint64_t sequence) {
    v1::WaitAppliedRequest request;
    request.set_model(model);
    request.set_sequence(sequence);
    return Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, request).status;
  }
  grpc::Status Predict(const std::string& model, uint64_t min_applied, int rows = 1) {
    v1::PredictRequest request;
    request.set_model(model);
    request.set_min_applied_sequence(min_applied);
    request.mutable_features()->set_dense(
        testing::ToyRows({}, std::vector<int64_t>(static_cast<size_t>(rows), 0), 1));
    return Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, request).status;
  }
  // A valid request of exactly so many bytes: one field that nobody knows.
  grpc::Status Send(size_t bytes) {
    const size_t text = bytes - 5;  // two bytes of tag, three of length
    std::string body = "\xa2\x06";
    for (size_t rest = text, i = 0; i < 3; ++i, rest >>= 7) {
      body += static_cast<char>((rest & 0x7f) | (i < 2 ? 0x80 : 0));
    }
    body += std::string(text, 'x');
    return testing::CallRaw(stubs_->channel, "/engram.v1.Models/ListModels", body).status;
  }
  // The status of a wait beside another one.
  grpc::Status WaitBeside(const std::string& model, uint64_t sequence) {
    const Stubs other(server_->NewChannel());
    std::atomic<bool> refused{false};
    std::thread waiting([&] {
      while (!refused) Wait(other, model, sequence);
    });
    grpc::Status status = grpc::Status::OK;
    // Until the other one is in, this one waits itself.
    for (int i = 0; i < 20 && status.error_code() != grpc::RESOURCE_EXHAUSTED; ++i) {
      v1::WaitAppliedRequest request;
      request.set_model(model);
      request.set_sequence(sequence);
      status = Call(*stubs_->learning, &v1::Learning::Stub::WaitApplied, request,
                    absl::Milliseconds(200))
                   .status;
    }
    refused = true;
    waiting.join();
    return status;
  }
  static grpc::Status OnChannel(const std::shared_ptr<grpc::Channel>& channel,
                                absl::Duration deadline = absl::Seconds(20)) {
    return testing::CallRaw(channel, "/engram.v1.Models/ListModels", "", deadline).status;
  }

  std::set<std::string> tried_;
};

TEST_F(LimitsTest, AtEachLimitAllIsWellAndOnePastItIsRefused) {
  StartWith(
      "limits { message_bytes: 65536 examples_per_message: 4 features: 16 tasks: 2 producers: 2 "
      "checkpoints: 2 models: 3 waits: 1 connections: 5 connection_calls: 2 "
      "predict_deadline_seconds: 1 checkpoint_deadline_seconds: 1 "
      "wait_applied_deadline_seconds: 1 }");
  const uint64_t never = 1000;  // a sequence that does not come
  ExpectAll({
      {"message_bytes", [&] { return Send(65536); }, [&] { return Send(65537); },
       "larger than max (65537 vs. 65536)"},
      {"features", [&] { return Create("a", 16); }, [&] { return Create("b", 17); },
       "spec.feature_count: limits.features is 16, got 17", grpc::INVALID_ARGUMENT},
      {"models", [&] { return Create("b").ok() ? Create("c") : grpc::Status::CANCELLED; },
       [&] { return Create("d"); }, "model limit 3"},
      {"examples_per_message", [&] { return Learn("a", "p", 1, 4); },
       [&] { return Learn("a", "p", 2, 5); }, "batch 5 exceeds 4", grpc::INVALID_ARGUMENT},
      {"producers", [&] { return Learn("a", "q", 1, 1); }, [&] { return Learn("a", "r", 1, 1); },
       "producer limit 2"},
      {"tasks", [&] { return EndTask("b", "p", 1, "two"); },
       [&] { return EndTask("b", "p", 3, "three"); }, "task limit 2"},
      {"checkpoints",
       [&] { return Checkpoint("c").ok() ? Checkpoint("c") : grpc::Status::CANCELLED; },
       [&] { return Checkpoint("c"); }, "the limit is 2"},
      {"predict_deadline", [&] { return Predict("a", 1); }, [&] { return Predict("a", never); },
       "1000", grpc::DEADLINE_EXCEEDED},
      {"checkpoint_deadline", [&] { return Checkpoint("a", 1); },
       [&] { return Checkpoint("a", never); }, "1000", grpc::DEADLINE_EXCEEDED},
      {"wait_applied_deadline", [&] { return Wait(*stubs_, "a", 1); },
       [&] { return Wait(*stubs_, "a", never); }, "1000", grpc::DEADLINE_EXCEEDED},
      {"waits", [&] { return Wait(*stubs_, "a", 1); }, [&] { return WaitBeside("a", never); },
       "limits.waits: 1 calls already wait for a sequence"},
  });

  // Calls that nothing ends, so that a third has to wait at the client.
  const auto shared = server_->NewChannel();
  std::vector<std::unique_ptr<testing::LearnSession>> streams;
  ExpectAll({{"connection_calls",
              [&] {
                streams.push_back(std::make_unique<testing::LearnSession>(shared));
                return streams.back()->Open("a", "q") ? OnChannel(shared)
                                                      : streams.back()->Finish();
              },
              [&] {
                streams.push_back(std::make_unique<testing::LearnSession>(shared));
                return streams.back()->Open("b", "p") ? OnChannel(shared, absl::Milliseconds(500))
                                                      : streams.back()->Finish();
              },
              "Deadline Exceeded", grpc::DEADLINE_EXCEEDED}});

  std::vector<std::shared_ptr<grpc::Channel>> connections;
  const auto connect = [&] {
    connections.push_back(server_->NewChannel());
    return OnChannel(connections.back(), absl::Seconds(5));
  };
  // Those of the stubs and of `shared` are open, and whatever else is still going.
  ExpectAll({{"connections",
              [&] {
                grpc::Status status = grpc::Status::OK;
                while (connections.size() < 3 && status.ok()) status = connect();
                return status;
              },
              connect, "", grpc::UNAVAILABLE}});

  ExpectTold(false);
}

TEST_F(LimitsTest, AtEachQuotaAllIsWellAndOnePastItIsRefused) {
  StartWith("quota { examples_per_second: 100 boundaries_per_minute: 2 learn_streams: 2 }");
  ASSERT_TRUE(Create("a").ok());
  std::vector<std::unique_ptr<testing::LearnSession>> streams;
  const auto open = [&] {
    streams.push_back(std::make_unique<testing::LearnSession>(stubs_->channel));
    return streams.back()->Open("a", absl::StrCat("s", streams.size())) ? grpc::Status::OK
                                                                        : streams.back()->Finish();
  };
  ExpectAll({
      {"quota.learn_streams", [&] { return open().ok() ? open() : grpc::Status::CANCELLED; }, open,
       "quota.learn_streams: callers without credentials may have 2"},
      {"quota.boundaries_per_minute",
       [&] {
         return EndTask("a", "p", 1, "two").ok() ? EndTask("a", "p", 3, "three")
                                                 : grpc::Status::CANCELLED;
       },
       [&] { return EndTask("a", "p", 5, "four"); },
       "quota.boundaries_per_minute: 2/min limit for callers without credentials"},
      // Far into debt, so that no second goes by unnoticed on a slow machine.
      {"quota.examples_per_second", [&] { return Learn("a", "p", 6, 1000); },
       [&] { return Learn("a", "p", 7, 1); },
       "quota.examples_per_second: 100/s limit for callers without credentials"},
  });
  EXPECT_TRUE(Predict("a", 0).ok()) << "predictions have nothing to do with it";
  ExpectTold(true);
}

class ConnectionAgeTest : public LimitsTest {};

TEST_F(ConnectionAgeTest, AProducerGoesOnFromItsAckWhenItsConnectionIsCut) {
  StartWith("limits { connection_age_seconds: 1 connection_grace_seconds: 1 }");
  ASSERT_TRUE(Create("a").ok());
  client::LearnStreamOptions options;
  options.model = "a";
  options.producer = "p";
  auto stream = client::LearnStream::Open(
      client::Connection::Wrap(server_->NewChannel(), client::ConnectionOptions()), options);
  ASSERT_TRUE(stream.ok()) << stream.status();
  int64_t sent = 0;
  const absl::Time end = absl::Now() + absl::Seconds(20);
  while ((*stream)->progress().reconnects < 2 && absl::Now() < end) {
    v1::LearnMessage message;
    *message.add_examples() = testing::ToyExample({}, sent % 2, static_cast<uint64_t>(sent));
    ASSERT_TRUE((*stream)->Send(&message).ok());
    ++sent;
    const grpc::Status predicted = Predict("a", sent == 1 ? 1 : 0);
    EXPECT_TRUE(predicted.ok()) << predicted.error_message();
    absl::SleepFor(absl::Milliseconds(2));
  }
  const auto finished = (*stream)->Finish();
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_GE(finished->reconnects, 2);
  EXPECT_EQ(finished->rejected_messages, 0);
  ASSERT_TRUE(Wait(*stubs_, "a", 0).ok());
  v1::GetReportRequest request;
  request.set_model("a");
  EXPECT_EQ(Call(*stubs_->evaluation, &v1::Evaluation::Stub::GetReport, request)->train_examples(),
            sent);
}

}  // namespace
}  // namespace engram::integration
