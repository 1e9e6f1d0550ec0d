// cut_every_byte: a session of 4 KB is cut after its first byte, after its second, and so on, in
// either direction; each time the producer comes back, resumes from its last ack, and finishes. In
// the end the log holds each example exactly once, and no message in part.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/harness.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/tcp_proxy.h"

ABSL_FLAG(int64_t, session_bytes, 4096, "cut after 0 to so many bytes that the client sends");
ABSL_FLAG(int64_t, step, 1, "bytes from one cut to the next");

namespace engram::net {
namespace {

using testing::TcpProxy;

constexpr char kModel[] = "plain";
constexpr int kWorkers = 4;
// An example is about 90 bytes on the wire.
constexpr int64_t kBytesOfExample = 85;
// A reply direction that was not cut so many times in a row has no more bytes.
constexpr int kWholeSessions = 3;

// One producer, whose first session is cut.
struct Life {
  crash::ProducerOptions options;
  uint64_t last = 0;  // its last message
};

Life MakeLife(const std::string& folder, const std::string& name, uint64_t seed) {
  Life life;
  life.options.model = kModel;
  life.options.plan = {seed, name, false};
  life.options.ledger_file = absl::StrCat(folder, ".ledger.", name);
  for (int64_t examples = 0; examples * kBytesOfExample < absl::GetFlag(FLAGS_session_bytes);) {
    examples += life.options.plan.ExampleCount(++life.last);
  }
  return life;
}

// From the last ack to the end of the stream. True when it ended as it should.
bool Session(const std::string& address, const Life& life, crash::Ledger* ledger,
             std::vector<std::string>* violations) {
  testing::LearnSession session(Connect(address));
  const uint64_t known = ledger->last_acked();
  const std::string& name = life.options.plan.producer;
  if (!session.Open(life.options.model, name, known)) return false;
  if (session.welcome().last_producer_sequence() < known) {
    violations->push_back(absl::StrCat(name, " was acked ", known, ", the server knows ",
                                       session.welcome().last_producer_sequence()));
  }
  bool written = true;
  for (uint64_t next = known + 1; next <= life.last && written; ++next) {
    ledger->Sent(next);
    written = session.Write(life.options.plan.Message(next));
  }
  written = written && session.End();
  v1::LearnAck ack;
  while (session.ReadAck(&ack)) {
    for (const v1::Rejection& rejection : ack.rejections()) {
      violations->push_back(absl::StrCat(name, " message ", rejection.producer_sequence(),
                                         " rejected: ", rejection.status().message()));
    }
    ledger->Acked(ack.producer_sequence());
  }
  return session.Finish().ok() && written && ledger->last_acked() == life.last;
}

struct Worker {
  std::unique_ptr<TcpProxy> proxy;
  std::vector<crash::Testimony> testimonies;
  std::vector<std::string> violations;
};

// Whether the session was cut at all.
bool CutAndResume(Worker* worker, const std::string& folder, TcpProxy::Way way, int64_t bytes,
                  uint64_t seed) {
  const char* side = way == TcpProxy::Way::kUp ? "up" : "down";
  const Life life = MakeLife(folder, absl::StrCat(side, "-", bytes), seed);
  crash::Ledger ledger(life.options.ledger_file);
  const int64_t before = worker->proxy->counts().cuts;
  worker->proxy->CutNewConnectionsAfter(
      way, bytes, bytes % 2 == 0 ? TcpProxy::Cut::kClose : TcpProxy::Cut::kReset);
  const bool finished = Session(worker->proxy->address(), life, &ledger, &worker->violations);
  worker->proxy->LetNewConnectionsLive();
  const bool cut = worker->proxy->counts().cuts > before;
  if (!finished && !cut) {
    worker->violations.push_back(absl::StrCat(life.options.plan.producer, " failed uncut"));
  }
  if (!finished && !Session(worker->proxy->address(), life, &ledger, &worker->violations)) {
    worker->violations.push_back(absl::StrCat(life.options.plan.producer, " could not resume"));
  }
  worker->testimonies.push_back(TestimonyOf(life.options));
  return cut;
}

// Byte by byte, dealt out to the workers.
void CutUpwards(std::vector<Worker>* workers, const std::string& folder, uint64_t seed) {
  std::atomic<int64_t> next{0};
  std::vector<std::thread> threads;
  for (Worker& worker : *workers) {
    threads.emplace_back([&, mine = &worker] {
      const int64_t step = absl::GetFlag(FLAGS_step);
      for (int64_t at = next.fetch_add(step); at <= absl::GetFlag(FLAGS_session_bytes);
           at = next.fetch_add(step)) {
        if (CutAndResume(mine, folder, TcpProxy::Way::kUp, at, seed)) continue;
        mine->violations.push_back(absl::StrCat("up-", at, " was not cut"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Until nothing is left to cut. Returns the last byte that was.
int64_t CutDownwards(Worker* worker, const std::string& folder, uint64_t seed) {
  int64_t last = 0;
  int whole = 0;
  // Replies are few bytes: the short form must not step over most of them.
  const int64_t step = std::min<int64_t>(absl::GetFlag(FLAGS_step), 13);
  for (int64_t at = 0; whole < kWholeSessions; at += step) {
    const bool cut = CutAndResume(worker, folder, TcpProxy::Way::kDown, at, seed);
    whole = cut ? 0 : whole + 1;
    if (cut) last = at;
  }
  return last;
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t seed) {
  const std::string folder = scratch.Subfolder("server");
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(folder, {}));
  ENGRAM_RETURN_IF_ERROR(
      CreateModel(server->grpc_address(), kModel, crash::CrashModels().at(kModel)));
  std::vector<Worker> workers(kWorkers);
  for (Worker& worker : workers) {
    ENGRAM_ASSIGN_OR_RETURN(worker.proxy, TcpProxy::Start());
    worker.proxy->SetTarget(server->grpc_address());
  }
  CutUpwards(&workers, folder, seed);
  const int64_t last_down = CutDownwards(&workers.front(), folder, seed);
  ENGRAM_RETURN_IF_ERROR(DrainToZero(server.get()));
  std::vector<crash::Testimony> testimonies;
  int64_t cuts = 0;
  bool good = true;
  for (Worker& worker : workers) {
    good = ReportViolations(worker.violations) && good;
    cuts += worker.proxy->counts().cuts;
    for (auto& testimony : worker.testimonies) testimonies.push_back(std::move(testimony));
  }
  std::printf("%zu sessions, %ld cut: upwards after 0 to %ld bytes, downwards after 0 to %ld\n",
              testimonies.size(), cuts, absl::GetFlag(FLAGS_session_bytes), last_down);
  ENGRAM_ASSIGN_OR_RETURN(const Findings findings, ReadAndJudge(folder, kModel, testimonies));
  return ReportExactlyOnce("engramd", findings) && good && last_down > 0;
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "cut_every_byte", engram::net::Run);
}
