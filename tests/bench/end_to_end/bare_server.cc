#include <unistd.h>

#include <deque>
#include <fstream>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engram/v1/learning.grpc.pb.h"
#include "engram/v1/prediction.grpc.pb.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "rocksdb/db.h"
#include "storage/base/check.h"
#include "storage/base/mutex.h"
#include "tests/bench/end_to_end/bare_roles.h"
#include "tests/bench/end_to_end/workload.h"
#include "tests/testing/process/raw_call.h"

namespace engram::bench {
namespace {

using grpc::ByteBuffer;

// Writes frames to RocksDB, all that wait in one synced batch.
class Committer {
 public:
  explicit Committer(const std::string& folder) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.write_buffer_size = 64 << 20;
    rocksdb::DB* db = nullptr;
    ENGRAM_CHECK(rocksdb::DB::Open(options, folder, &db).ok());
    db_.reset(db);
    std::thread([this] { Run(); }).detach();
  }

  void Submit(ByteBuffer frame, std::function<void()> on_durable) {
    base::MutexLock lock(&mutex_);
    waiting_.push_back({std::move(frame), std::move(on_durable)});
    some_.NotifyOne();
  }

 private:
  struct Frame {
    ByteBuffer bytes;
    std::function<void()> on_durable;
  };

  void Run() {
    while (true) {
      std::vector<Frame> frames;
      {
        base::MutexLock lock(&mutex_);
        while (waiting_.empty()) some_.Wait(&mutex_);
        frames.swap(waiting_);
      }
      rocksdb::WriteBatch batch;
      for (const Frame& frame : frames) Append(frame.bytes, &batch);
      rocksdb::WriteOptions options;
      options.sync = true;
      ENGRAM_CHECK(db_->Write(options, &batch).ok());
      for (const Frame& frame : frames) frame.on_durable();
    }
  }

  // One record an example: equal slices of the frame, nothing parsed.
  void Append(const ByteBuffer& frame, rocksdb::WriteBatch* batch) {
    const std::string bytes = testing::FromBuffer(frame);
    const size_t examples = bytes.size() / (kFeatureCount * sizeof(float));
    const size_t step = bytes.size() / examples;
    for (size_t i = 0; i < examples; ++i) {
      const std::string key = absl::StrCat(absl::Hex(++sequence_, absl::kZeroPad16));
      batch->Put(key, rocksdb::Slice(bytes.data() + i * step, step));
    }
  }

  std::unique_ptr<rocksdb::DB> db_;
  base::Mutex mutex_;
  base::CondVar some_;
  std::vector<Frame> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t sequence_ = 0;
};

class BareLearn : public v1::Learning::WithRawCallbackMethod_Learn<
                      v1::Learning::WithRawCallbackMethod_LearnBatch<v1::Learning::Service>> {
 public:
  explicit BareLearn(Committer* committer) : committer_(committer) {}

  grpc::ServerBidiReactor<ByteBuffer, ByteBuffer>* Learn(grpc::CallbackServerContext*) override {
    return new Stream(committer_);
  }
  // Of a flood: taken in and refused, nothing parsed.
  grpc::ServerUnaryReactor* LearnBatch(grpc::CallbackServerContext* context, const ByteBuffer*,
                                       ByteBuffer*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "over the limit"));
    return reactor;
  }

 private:
  // Acks coalesce: at most one write is on its way, it says how far everything is durable.
  class Stream : public grpc::ServerBidiReactor<ByteBuffer, ByteBuffer> {
   public:
    explicit Stream(Committer* committer) : committer_(committer) { StartRead(&read_); }

    void OnReadDone(bool ok) override {
      if (!ok) return Close();
      if (!welcomed_) {
        welcomed_ = true;
        v1::LearnResponse response;
        response.mutable_welcome();
        Answer(response.SerializeAsString());
      } else if (read_.Length() > 64) {
        const uint64_t sequence = ++received_;
        committer_->Submit(std::move(read_), [this, sequence] { Ack(sequence); });
      }
      read_ = ByteBuffer();
      StartRead(&read_);
    }

    void OnWriteDone(bool ok) override {
      base::MutexLock lock(&mutex_);
      writing_ = false;
      if (ok && acked_ > told_) WriteAck();
      MaybeFinish();
    }

    void OnDone() override { delete this; }

   private:
    void Answer(const std::string& bytes) {
      base::MutexLock lock(&mutex_);
      writing_ = true;
      write_ = testing::ToBuffer(bytes);
      StartWrite(&write_);
    }

    void Ack(uint64_t sequence) {
      base::MutexLock lock(&mutex_);
      acked_ = sequence;
      if (!writing_) WriteAck();
      MaybeFinish();
    }

    void WriteAck() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      v1::LearnResponse response;
      response.mutable_ack()->set_producer_sequence(acked_);
      told_ = acked_;
      writing_ = true;
      write_ = testing::ToBuffer(response.SerializeAsString());
      StartWrite(&write_);
    }

    void Close() {
      base::MutexLock lock(&mutex_);
      closing_ = true;
      MaybeFinish();
    }

    void MaybeFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      if (!closing_ || finished_ || writing_ || acked_ < received_) return;
      finished_ = true;
      Finish(grpc::Status::OK);
    }

    Committer* const committer_;
    ByteBuffer read_;
    ByteBuffer write_;
    bool welcomed_ = false;
    std::atomic<uint64_t> received_{0};
    base::Mutex mutex_;
    bool writing_ ABSL_GUARDED_BY(mutex_) = false;
    bool closing_ ABSL_GUARDED_BY(mutex_) = false;
    bool finished_ ABSL_GUARDED_BY(mutex_) = false;
    uint64_t acked_ ABSL_GUARDED_BY(mutex_) = 0;
    uint64_t told_ ABSL_GUARDED_BY(mutex_) = 0;
  };

  Committer* const committer_;
};

class BareEcho : public v1::Prediction::WithRawCallbackMethod_Predict<v1::Prediction::Service> {
 public:
  BareEcho(int reply_bytes, absl::Duration busy)
      : reply_(testing::ToBuffer(std::string(static_cast<size_t>(reply_bytes), 'x'))),
        busy_(busy) {}

  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context, const ByteBuffer*,
                                    ByteBuffer* reply) override {
    if (busy_ > absl::ZeroDuration()) KeepBusy();
    *reply = reply_;
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  void KeepBusy() const {
    const absl::Time end = absl::Now() + busy_;
    while (absl::Now() < end) continue;
  }

  const ByteBuffer reply_;
  const absl::Duration busy_;
};

}  // namespace

void ServeBare(const std::string& address_file, const std::string& folder, int reply_bytes,
               absl::Duration busy) {
  Committer committer(folder);
  BareLearn learn(&committer);
  BareEcho echo(reply_bytes, busy);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&learn);
  builder.RegisterService(&echo);
  const auto server = builder.BuildAndStart();
  ENGRAM_CHECK(server != nullptr);
  std::ofstream(address_file + ".new") << "127.0.0.1:" << port;
  ENGRAM_CHECK(rename((address_file + ".new").c_str(), address_file.c_str()) == 0);
  server->Wait();
}

}  // namespace engram::bench
