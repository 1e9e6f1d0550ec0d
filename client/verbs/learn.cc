// Streaming into a model: `learn` and `boundary`.
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/learn_stream.h"
#include "client/row_reader.h"
#include "client/status.h"
#include "client/verbs/learn_run.h"
#include "client/verbs/row_flags.h"
#include "client/verbs/verbs.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

// What the server accepts in one message.
constexpr int64_t kExamplesPerMessageMax = 1024;

// Sends every row; returns where the stream stood at its end.
absl::StatusOr<LearnProgress> StreamRows(const LearnRun& run, RowReader* rows, Progress* progress,
                                         LearnStream* stream) {
  v1::LearnMessage message;
  for (bool more = true; more;) {
    message.Clear();
    while (message.examples_size() < run.batch) {
      v1::Example* example = message.add_examples();
      ENGRAM_ASSIGN_OR_RETURN(more, rows->Next(example));
      if (!more) {
        message.mutable_examples()->RemoveLast();
        break;
      }
      Mark(run, example);
    }
    if (message.examples_size() == 0) break;
    ENGRAM_RETURN_IF_ERROR(stream->Send(&message).status());
    progress->Set(stream->progress().acked_examples);
  }
  return stream->Finish();
}

void PrintOutcome(const VerbContext& context, const LearnRun& run, const LearnProgress& done,
                  double seconds) {
  const int64_t stored = done.acked_examples - done.rejected_examples;
  if (context.json) {
    *context.out << Json({{"event", "learned"},
                          {"model", run.model},
                          {"examples", stored},
                          {"rejected_examples", done.rejected_examples},
                          {"rejected_messages", done.rejected_messages},
                          {"durable_sequence", done.durable_sequence},
                          {"applied_sequence", done.applied_sequence},
                          {"reconnects", done.reconnects},
                          {"seconds", seconds}})
                        .dump()
                 << "\n";
    return;
  }
  *context.out << absl::StrCat(stored, " examples are durable at sequence ", done.durable_sequence,
                               ", applied ", done.applied_sequence, "\n");
  if (done.rejected_messages > 0) {
    *context.out << absl::StrCat(done.rejected_examples, " examples in ", done.rejected_messages,
                                 " messages were rejected\n");
  }
}

// With a bar that is gone when it returns: what is printed next begins a line.
absl::StatusOr<LearnProgress> StreamWithBar(const VerbContext& context, const LearnRun& run,
                                            const std::shared_ptr<Connection>& connection,
                                            RowReader* rows) {
  ProgressOptions shown;
  shown.title = absl::StrCat("learn ", run.model);
  shown.unit = "examples";
  shown.terminal = context.terminal;
  shown.quiet = context.json;
  Progress progress(shown, context.err);
  ENGRAM_ASSIGN_OR_RETURN(const auto stream, OpenStream(context, run, connection, {}, &progress));
  ENGRAM_ASSIGN_OR_RETURN(const LearnProgress done, StreamRows(run, rows, &progress, stream.get()));
  progress.Set(done.acked_examples);
  return done;
}

int LearnFrom(const VerbContext& context, const LearnRun& run, RowReader* rows) {
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const absl::Time start = absl::Now();
  auto done = StreamWithBar(context, run, *connection, rows);
  if (!done.ok()) return Fail(context, done.status());
  const auto applied =
      AwaitApplied(*connection, run, done->durable_sequence, done->applied_sequence);
  if (!applied.ok()) return Fail(context, applied.status());
  done->applied_sequence = *applied;
  PrintOutcome(context, run, *done, absl::ToDoubleSeconds(absl::Now() - start));
  return done->rejected_messages > 0 ? kExitFailed : kExitOk;
}

// Which of --file, --csv, --jsonl and --idx was given, and its files.
struct FileFlags {
  std::vector<std::string> csv;
  std::vector<std::string> json_lines;
  std::vector<std::string> idx;
  std::vector<std::string> more;

  bool given() const { return !csv.empty() || !json_lines.empty() || !idx.empty(); }
  RowFileKind kind() const {
    if (!csv.empty()) return RowFileKind::kCsv;
    return json_lines.empty() ? RowFileKind::kIdx : RowFileKind::kJsonLines;
  }
  std::vector<std::string> paths() const {
    std::vector<std::string> paths = csv;
    paths.insert(paths.end(), json_lines.begin(), json_lines.end());
    paths.insert(paths.end(), idx.begin(), idx.end());
    paths.insert(paths.end(), more.begin(), more.end());
    return paths;
  }

  void Declare(FlagSet* flags) {
    flags
        ->Strings("csv", &csv,
                  "learn this file of CSV lines, and go on where an earlier try stopped")
        .Takes("FILE")
        .Strings("jsonl", &json_lines, "the same with JSON lines")
        .Takes("FILE")
        .Strings("idx", &idx, "the same with an idx file of images; the file of labels follows it")
        .Takes("FILE");
  }

  absl::Status Check(const LearnRun& run) const {
    const int kinds = (csv.empty() ? 0 : 1) + (json_lines.empty() ? 0 : 1) + (idx.empty() ? 0 : 1);
    if (kinds > 1) {
      return absl::InvalidArgumentError("--csv, --jsonl and --idx exclude each other");
    }
    if (kinds == 0 && !more.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", more.front(), "\": say --csv, --jsonl or --idx before a file"));
    }
    if (kinds == 0 && run.pass != 1) {
      return absl::InvalidArgumentError("--pass goes with --csv, --jsonl and --idx");
    }
    const std::vector<std::string> files = paths();
    if (kinds == 1 && std::find(files.begin(), files.end(), "-") != files.end()) {
      return absl::InvalidArgumentError(
          "\"-\": standard input cannot be read again after a break; --file - learns it");
    }
    if (kinds == 1 && run.batch != kMessageExamples) {
      return absl::InvalidArgumentError(
          "--batch goes with --file: a file that can be resumed is always cut alike");
    }
    return absl::OkStatus();
  }
};

// The unary call needs the producer's next sequence, which a stream's welcome tells.
absl::StatusOr<v1::MarkBoundaryResponse> MarkOn(const std::shared_ptr<Connection>& connection,
                                                const LearnRun& run, const std::string& next_task) {
  LearnStreamOptions options;
  options.model = run.model;
  options.producer = run.producer;
  options.retry = connection->options().retry;
  ENGRAM_ASSIGN_OR_RETURN(const auto stream, LearnStream::Open(connection, options));
  ENGRAM_ASSIGN_OR_RETURN(const LearnProgress welcome, stream->Finish());
  v1::MarkBoundaryRequest request;
  request.set_model(run.model);
  request.set_producer(run.producer);
  request.set_producer_sequence(welcome.acked_sequence + 1);
  request.set_epoch(welcome.epoch);
  request.mutable_boundary()->set_next_task(next_task);
  const LearningClient learning(connection);
  ENGRAM_ASSIGN_OR_RETURN(auto marked, learning.MarkBoundary(request));
  if (run.wait) {
    ENGRAM_RETURN_IF_ERROR(
        learning.WaitApplied(run.model, marked.sequence(), true, absl::Seconds(run.wait_seconds))
            .status());
  }
  return marked;
}

}  // namespace

int Learn(const VerbContext& context, const Arguments& args) {
  LearnRun run;
  RowFlags row_flags;
  FileFlags files;
  FlagSet flags(
      "learn",
      "Streams labelled rows into a model, exactly once.\n"
      "--csv, --jsonl and --idx take files, gzip'd or not, and may be repeated after any break: "
      "the\n"
      "same command goes on at the first row without an ack. --file takes rows as they come.");
  flags.Positional("MODEL", &run.model, "to teach")
      .OptionalRest("FILE...", &files.more, "more files, of the kind of --csv, --jsonl or --idx");
  files.Declare(&flags);
  row_flags.Declare(&flags);
  row_flags.DeclareLabel(&flags);
  flags.String("producer", &run.producer, "name of this producer; one live stream a name")
      .String("task", &run.task, "task of every row; empty: the row's own, else the current one")
      .Bool("held_out", &run.held_out, "rows are evaluated on, never trained on")
      .Int64("batch", &run.batch, "--file: examples a message, 1 to 1024")
      .Int64("pass", &run.pass, "2, 3 ...: learn files once more, e.g. after a rollback")
      .Bool("wait", &run.wait, "return only when all of it is learned and served")
      .Int64("wait_seconds", &run.wait_seconds, "longest wait");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (run.batch < 1 || run.batch > kExamplesPerMessageMax) {
    return WrongUsage(context, absl::InvalidArgumentError("--batch: expected 1 to 1024"), flags);
  }
  RowReaderOptions options;
  std::ifstream file;
  std::istream* in = nullptr;
  absl::Status usable = files.Check(run);
  if (usable.ok()) usable = row_flags.Open(context, &options, &file, &in);
  if (!usable.ok()) return WrongUsage(context, usable, flags);
  if (files.given()) return LearnFiles(context, run, files.kind(), files.paths(), options);
  RowReader rows(options, in);
  return LearnFrom(context, run, &rows);
}

int MarkBoundary(const VerbContext& context, const Arguments& args) {
  LearnRun run;
  std::string next_task;
  FlagSet flags("boundary", "Ends the model's current task; the next one begins.");
  flags.Positional("MODEL", &run.model, "whose task ends")
      .OptionalPositional("NEXT_TASK", &next_task, "name of the task that begins")
      .String("producer", &run.producer, "name of this producer")
      .Bool("wait", &run.wait, "return only when the boundary is learned and its row of R is there")
      .Int64("wait_seconds", &run.wait_seconds, "longest wait");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto marked = MarkOn(*connection, run, next_task);
  if (!marked.ok()) return Fail(context, marked.status());
  if (context.json) {
    *context.out << ToJson(*marked).dump() << "\n";
  } else {
    *context.out << absl::StrCat("task ", marked->ended_task(), " ended at sequence ",
                                 marked->sequence(), ", ", marked->next_task(), " began\n");
  }
  return kExitOk;
}

}  // namespace engram::client
