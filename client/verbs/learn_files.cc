// `learn --csv|--jsonl|--idx`: files that are learned exactly once, however often the command runs.
//
// The position of a file is kept by the server and nowhere else. A file's rows are always cut into
// the same messages, and are sent under a producer's name that is made of the file's content. So
// the last producer sequence in the server's welcome is the number of messages of this file that
// are durable already: a run leaves those out and sends the rest under the numbers that follow.
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/row_files.h"
#include "client/status.h"
#include "client/stop_signal.h"
#include "client/verbs/learn_run.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

// The cut. Another one must have another name, or rows are learned twice or never.
constexpr char kCutName[] = "1";
constexpr int64_t kMessageBytes = 1 << 20;
constexpr int64_t kProducerBytesMax = 128;

// The next message of a file; without examples at its end.
absl::Status FillMessage(const LearnRun& run, RowFile* file, v1::LearnMessage* message) {
  message->Clear();
  size_t bytes = 0;
  while (message->examples_size() < kMessageExamples && bytes < kMessageBytes) {
    v1::Example* example = message->add_examples();
    ENGRAM_ASSIGN_OR_RETURN(const bool more, file->Next(example));
    if (!more) {
      message->mutable_examples()->RemoveLast();
      break;
    }
    Mark(run, example);
    bytes += example->ByteSizeLong();
  }
  return absl::OkStatus();
}

// Of this content, learned in this way.
std::string ProducerOf(const LearnRun& run, const RowFile& file) {
  std::string name = absl::StrCat(run.producer, "-", file.fingerprint(), "-", kCutName);
  if (!run.task.empty()) absl::StrAppend(&name, "-", run.task);
  if (run.held_out) absl::StrAppend(&name, "-held_out");
  if (run.pass != 1) absl::StrAppend(&name, "-pass", run.pass);
  return name;
}

struct FileOutcome {
  std::string producer;
  // Durable before this run.
  int64_t before = 0;
  LearnProgress done;
  bool stopped = false;
};

class FileRun {
 public:
  FileRun(const VerbContext& context, const LearnRun& run, std::shared_ptr<Connection> connection,
          RowFile* file)
      : context_(context), run_(run), connection_(std::move(connection)), file_(file) {}

  absl::StatusOr<FileOutcome> Go(const StopSignal& stop) {
    FileOutcome outcome;
    outcome.producer = ProducerOf(run_, *file_);
    if (static_cast<int64_t>(outcome.producer.size()) > kProducerBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("producer \"", outcome.producer, "\" has ", outcome.producer.size(),
                       " bytes, the limit is ", kProducerBytesMax, ": shorten --producer"));
    }
    Progress progress(Shown(), context_.err);
    LearnRun run = run_;
    run.producer = outcome.producer;
    LearnStreamOptions options;
    // Rows that were there before come first; the stream counts its own.
    options.on_ack = [&](const LearnProgress& now) {
      progress.Set(outcome.before + now.acked_examples);
    };
    ENGRAM_ASSIGN_OR_RETURN(auto stream,
                            OpenStream(context_, run, connection_, options, &progress));
    ENGRAM_ASSIGN_OR_RETURN(outcome.before, SkipMessages(stream->progress().acked_sequence));
    progress.Begin(outcome.before);
    const absl::Status sent = SendRest(stop, stream.get());
    outcome.done = stream->progress();
    outcome.stopped = stop.arrived();
    if (!sent.ok()) return Resumable(sent, outcome);
    if (outcome.stopped) return outcome;
    const auto done = stream->Finish();
    if (!done.ok()) return Resumable(done.status(), outcome);
    outcome.done = *done;
    progress.Set(outcome.before + done->acked_examples);
    return outcome;
  }

 private:
  ProgressOptions Shown() const {
    ProgressOptions shown;
    const std::string& path = file_->name();
    shown.title = absl::StrCat("learn ", run_.model, " ", path.substr(path.rfind('/') + 1));
    shown.unit = "examples acked";
    shown.total = file_->rows();
    shown.terminal = context_.terminal;
    shown.quiet = context_.json;
    return shown;
  }

  // The rows of the file's first `messages`.
  absl::StatusOr<int64_t> SkipMessages(uint64_t messages) {
    int64_t rows = 0;
    for (uint64_t skipped = 0; skipped < messages; ++skipped) {
      ENGRAM_RETURN_IF_ERROR(FillMessage(run_, file_, &message_));
      if (message_.examples_size() == 0) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the server has ", messages, " messages of ", file_->name(), ", the file has ", skipped,
            ": another program uses its producer's name; give another --producer"));
      }
      rows += message_.examples_size();
    }
    return rows;
  }

  absl::Status SendRest(const StopSignal& stop, LearnStream* stream) {
    while (!stop.arrived()) {
      ENGRAM_RETURN_IF_ERROR(FillMessage(run_, file_, &message_));
      if (message_.examples_size() == 0) break;
      ENGRAM_RETURN_IF_ERROR(stream->Send(&message_).status());
    }
    return absl::OkStatus();
  }

  // A failure that leaves a position says so.
  absl::Status Resumable(const absl::Status& failed, const FileOutcome& outcome) const {
    absl::Status status(
        failed.code(),
        absl::StrCat(failed.message(), "; ", outcome.before + outcome.done.acked_examples, " of ",
                     file_->rows(), " rows are durable, the same command goes on after them"));
    failed.ForEachPayload([&status](absl::string_view url, const absl::Cord& payload) {
      status.SetPayload(url, payload);
    });
    return status;
  }

  const VerbContext& context_;
  const LearnRun& run_;
  const std::shared_ptr<Connection> connection_;
  RowFile* const file_;
  v1::LearnMessage message_;
};

void PrintFile(const VerbContext& context, const LearnRun& run, const RowFile& file,
               const FileOutcome& outcome, double seconds) {
  const LearnProgress& done = outcome.done;
  const int64_t stored = done.acked_examples - done.rejected_examples;
  if (context.json) {
    *context.out << Json({{"event", outcome.stopped ? "stopped" : "learned"},
                          {"model", run.model},
                          {"file", file.name()},
                          {"producer", outcome.producer},
                          {"rows", file.rows()},
                          {"rows_before", outcome.before},
                          {"examples", stored},
                          {"rejected_examples", done.rejected_examples},
                          {"rejected_messages", done.rejected_messages},
                          {"durable_sequence", done.durable_sequence},
                          {"applied_sequence", done.applied_sequence},
                          {"reconnects", done.reconnects},
                          {"seconds", seconds}})
                        .dump()
                 << std::endl;
    return;
  }
  *context.out << file.name() << ": " << file.rows() << " rows";
  if (outcome.before > 0) *context.out << ", " << outcome.before << " of them answered before";
  *context.out << "; " << stored << " examples are durable at sequence " << done.durable_sequence
               << ", applied " << done.applied_sequence << std::endl;
  if (done.rejected_messages > 0) {
    *context.out << done.rejected_examples << " examples in " << done.rejected_messages
                 << " messages were rejected\n";
  }
  if (outcome.stopped) {
    *context.out << "stopped after " << outcome.before + done.acked_examples << " of "
                 << file.rows() << " rows; the same command goes on after them\n";
  }
}

// The readers of all files; every one is opened before the first row is sent.
absl::StatusOr<std::vector<std::unique_ptr<RowFile>>> OpenAll(RowFileKind kind,
                                                              const std::vector<std::string>& paths,
                                                              RowReaderOptions options) {
  std::vector<std::unique_ptr<RowFile>> files;
  if (kind != RowFileKind::kIdx) {
    options.format = kind == RowFileKind::kCsv ? RowReaderOptions::Format::kCsv
                                               : RowReaderOptions::Format::kJsonLines;
    for (const std::string& path : paths) {
      ENGRAM_ASSIGN_OR_RETURN(files.emplace_back(), OpenTextFile(path, options));
    }
    return files;
  }
  if (paths.size() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--idx: expected images and labels in turn, an even number of files, got ", paths.size()));
  }
  if (options.divide_by != 1.0) {
    return absl::InvalidArgumentError(
        "--divide_by: a pixel is divided by 255 anyway; leave it out");
  }
  for (size_t i = 0; i < paths.size(); i += 2) {
    ENGRAM_ASSIGN_OR_RETURN(files.emplace_back(), OpenIdxFiles(paths[i], paths[i + 1]));
  }
  return files;
}

}  // namespace

void Mark(const LearnRun& run, v1::Example* example) {
  if (!run.task.empty()) example->set_task(run.task);
  if (run.held_out) example->set_split(v1::HELD_OUT);
}

absl::StatusOr<std::unique_ptr<LearnStream>> OpenStream(const VerbContext& context,
                                                        const LearnRun& run,
                                                        std::shared_ptr<Connection> connection,
                                                        LearnStreamOptions options,
                                                        Progress* progress) {
  options.model = run.model;
  options.producer = run.producer;
  options.retry = context.connection.retry;
  options.on_rejection = [progress](const v1::Rejection& rejection) {
    progress->Warn(absl::StrCat("engram: message ", rejection.producer_sequence(),
                                " was rejected: ", Describe(FromRpcStatus(rejection.status()))));
  };
  return LearnStream::Open(std::move(connection), std::move(options));
}

absl::StatusOr<uint64_t> AwaitApplied(const std::shared_ptr<Connection>& connection,
                                      const LearnRun& run, uint64_t sequence, uint64_t applied) {
  if (!run.wait) return applied;
  ENGRAM_ASSIGN_OR_RETURN(const auto reached, LearningClient(connection)
                                                  .WaitApplied(run.model, sequence, false,
                                                               absl::Seconds(run.wait_seconds)));
  return reached.applied_sequence();
}

int LearnFiles(const VerbContext& context, const LearnRun& run, RowFileKind kind,
               const std::vector<std::string>& paths, RowReaderOptions options) {
  const auto files = OpenAll(kind, paths, std::move(options));
  if (!files.ok()) return Fail(context, files.status());
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const StopSignal stop(StopSignal::Catch::kOnce);
  int exit = kExitOk;
  for (const auto& file : *files) {
    const absl::Time start = absl::Now();
    auto outcome = FileRun(context, run, *connection, file.get()).Go(stop);
    if (!outcome.ok()) return Fail(context, outcome.status());
    LearnProgress& done = outcome->done;
    if (!outcome->stopped) {
      const auto applied =
          AwaitApplied(*connection, run, done.durable_sequence, done.applied_sequence);
      if (!applied.ok()) return Fail(context, applied.status());
      done.applied_sequence = *applied;
    }
    PrintFile(context, run, *file, *outcome, absl::ToDoubleSeconds(absl::Now() - start));
    if (done.rejected_messages > 0 || outcome->stopped) exit = kExitFailed;
    if (outcome->stopped) break;
  }
  return exit;
}

}  // namespace engram::client
