// What the two ways of `learn` share: rows as they come (`--file`), and files that go on where they
// stopped (`--csv`, `--jsonl`, `--idx`).
//
// Threading: main thread. Ownership: plain values; borrows the context.
// Failure: exit codes of client/verb.h. Bounds: as LearnStream and RowFile.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/learn_stream.h"
#include "client/progress.h"
#include "client/row_reader.h"
#include "client/verb.h"
#include "engram/v1/example.pb.h"

namespace engram::client {

inline constexpr char kDefaultProducer[] = "engram-cli";
// What a message holds unless --batch says otherwise; the server takes up to 1 024.
inline constexpr int64_t kMessageExamples = 256;

struct LearnRun {
  std::string model;
  std::string producer = kDefaultProducer;
  std::string task;
  bool held_out = false;
  int64_t batch = kMessageExamples;
  int64_t pass = 1;
  bool wait = false;
  int64_t wait_seconds = 600;
};

// What the flags say about a row that its line does not.
void Mark(const LearnRun& run, engram::v1::Example* example);

// A stream whose rejections are lines above the bar of `progress`, which outlives it: they arrive
// on a thread of gRPC.
absl::StatusOr<std::unique_ptr<LearnStream>> OpenStream(const VerbContext& context,
                                                        const LearnRun& run,
                                                        std::shared_ptr<Connection> connection,
                                                        LearnStreamOptions options,
                                                        Progress* progress);

// Waits until `sequence` is learned and served, when the run asks for it. Returns what is applied.
absl::StatusOr<uint64_t> AwaitApplied(const std::shared_ptr<Connection>& connection,
                                      const LearnRun& run, uint64_t sequence, uint64_t applied);

enum class RowFileKind { kCsv, kJsonLines, kIdx };

// Learns the files one after the other, each exactly once however often the command is run.
int LearnFiles(const VerbContext& context, const LearnRun& run, RowFileKind kind,
               const std::vector<std::string>& paths, RowReaderOptions options);

}  // namespace engram::client
