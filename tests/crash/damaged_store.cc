#include "tests/crash/damaged_store.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/subprocess.h"

namespace engram::crash {
namespace {

namespace fs = std::filesystem;
using testing::ServerProcess;

constexpr uint64_t kMessagesALife = 30;
constexpr absl::Duration kOld = absl::Milliseconds(1300);
constexpr absl::Duration kStartPatience = absl::Seconds(60);

absl::StatusOr<std::unique_ptr<ServerProcess>> Start(const std::string& folder) {
  testing::ServerOptions options;
  options.data_dir = folder;
  options.ready_within = kStartPatience;
  return ServerProcess::Start(std::move(options));
}

absl::Status StreamFailed(const Told& told, testing::LearnSession* session) {
  const grpc::Status status = session->Finish();
  return absl::InternalError(absl::StrCat(told.plan.producer, ": ", status.error_code(), " ",
                                          status.error_message()));
}

// Sends `count` messages, one at a time, each acked before the next. `acked_at` may be null.
absl::Status Send(const ServerProcess& server, Told* told, uint64_t count,
                  std::vector<absl::Time>* acked_at) {
  testing::LearnSession session(server.NewChannel());
  if (!session.Open(told->model, told->plan.producer, told->acked)) {
    return StreamFailed(*told, &session);
  }
  for (uint64_t i = 0; i < count; ++i) {
    v1::LearnAck ack;
    const uint64_t sequence = told->acked + 1;
    if (!session.Write(told->plan.Message(sequence)) || !session.ReadUntil(sequence, &ack)) {
      return StreamFailed(*told, &session);
    }
    told->acked = sequence;
    if (acked_at != nullptr) acked_at->push_back(absl::Now());
  }
  session.Cancel();
  return absl::OkStatus();
}

absl::Status LiveOnce(MadeStore* made, bool first) {
  ENGRAM_ASSIGN_OR_RETURN(auto server, Start(made->folder));
  if (first) ENGRAM_RETURN_IF_ERROR(CreateModels(*server));
  for (Told& told : made->told) {
    ENGRAM_RETURN_IF_ERROR(Send(*server, &told, kMessagesALife, nullptr));
    told.old = told.acked;
  }
  ENGRAM_ASSIGN_OR_RETURN(const auto ends, CheckpointTheEnd(*server));
  made->checkpoints.push_back(ends.at("plain").id());
  absl::SleepFor(kOld);
  server->Kill();
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> Weights(const ServerProcess& server) {
  ENGRAM_ASSIGN_OR_RETURN(const auto ends, CheckpointTheEnd(server));
  std::map<std::string, std::string> weights;
  for (const auto& [model, checkpoint] : ends) weights[model] = checkpoint.sha256();
  return weights;
}

// Judges the stored logs against what was acked up to `old` or at all.
absl::StatusOr<int64_t> CountLost(const std::vector<StoredModel>& models,
                                  const std::vector<Told>& told, bool old_only) {
  int64_t lost = 0;
  for (const Told& one : told) {
    Testimony testimony{one.plan, {}};
    testimony.entries.last_sent = one.acked;
    testimony.entries.last_acked = old_only ? one.old : one.acked;
    bool found = false;
    for (const StoredModel& model : models) {
      if (model.name != one.model) continue;
      found = true;
      lost += Judge(model.records, {testimony}, {}).lost;
    }
    if (!found) return absl::InternalError(absl::StrCat("model ", one.model, " is not stored"));
  }
  return lost;
}

// The hello of every producer, with the last ack that it holds.
absl::Status AskAtHello(const ServerProcess& server, const std::vector<Told>& told,
                        Opening* opening) {
  for (const Told& one : told) {
    testing::LearnSession session(server.NewChannel());
    if (session.Open(one.model, one.plan.producer, one.acked)) {
      session.Cancel();
      continue;
    }
    const grpc::Status status = session.Finish();
    if (status.error_code() != grpc::DATA_LOSS) {
      return absl::InternalError(absl::StrCat("hello of ", one.plan.producer, ": ",
                                              status.error_code(), " ", status.error_message()));
    }
    opening->told_at_hello = true;
    absl::StrAppend(&opening->words, "hello of ", one.plan.producer, ": ",
                    status.error_message(), "\n");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MadeStore> MakeStore(const testing::ScratchFolder& scratch, uint64_t seed) {
  MadeStore made;
  made.folder = scratch.Subfolder("made");
  for (const auto& [model, spec] : CrashModels()) {
    made.told.push_back({model, {seed, absl::StrCat(model, "-0"), false}, 0, 0});
  }
  for (int life = 0; life < 3; ++life) ENGRAM_RETURN_IF_ERROR(LiveOnce(&made, life == 0));
  fs::remove(made.folder + "/endpoints.json");
  const std::string copy = scratch.path() + "/undamaged";
  ENGRAM_RETURN_IF_ERROR(CopyFolder(made.folder, copy));
  ENGRAM_ASSIGN_OR_RETURN(auto server, Start(copy));
  ENGRAM_ASSIGN_OR_RETURN(made.weights, Weights(*server));
  return made;
}

absl::StatusOr<MadeStore> MakeYoungStore(const testing::ScratchFolder& scratch,
                                         const MadeStore& base, int turn) {
  MadeStore young = base;
  young.folder = absl::StrCat(scratch.path(), "/young-", turn);
  ENGRAM_RETURN_IF_ERROR(CopyFolder(base.folder, young.folder));
  ENGRAM_ASSIGN_OR_RETURN(auto server, Start(young.folder));
  Told& told = young.told.front();
  const uint64_t before = told.acked;
  std::vector<absl::Time> acked_at;
  ENGRAM_RETURN_IF_ERROR(Send(*server, &told, 5, &acked_at));
  absl::SleepFor(kOld);  // the witness has these, and the next are younger than it
  ENGRAM_RETURN_IF_ERROR(Send(*server, &told, 5, &acked_at));
  server->Kill();
  const absl::Time died = absl::Now();
  for (size_t i = 0; i < acked_at.size(); ++i) {
    if (died - acked_at[i] >= absl::Seconds(1)) told.old = before + i + 1;
  }
  fs::remove(young.folder + "/endpoints.json");
  return young;
}

absl::Status CopyFolder(const std::string& from, const std::string& to) {
  std::error_code failed;
  fs::remove_all(to, failed);
  fs::copy(from, to, fs::copy_options::recursive, failed);
  if (failed) return absl::InternalError(absl::StrCat("cannot copy the store: ", failed.message()));
  return absl::OkStatus();
}

std::map<std::string, std::string> Contents(const std::string& folder) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const bool counts = entry.is_regular_file() && entry.path().filename() != "LOCK";
    const std::string path = entry.path().string();
    if (counts) contents[path] = testing::ReadWholeFile(path);
  }
  return contents;
}

absl::StatusOr<Opening> OpenDamaged(const MadeStore& store, const std::string& folder,
                                    const std::string& binary) {
  Opening opening;
  const auto before = Contents(folder);
  testing::ServerOptions options;
  options.data_dir = folder;
  options.ready_within = kStartPatience;
  options.binary = binary;
  ENGRAM_ASSIGN_OR_RETURN(auto server, ServerProcess::Launch(std::move(options)));
  const absl::Status ready = server->WaitReady();
  if (server->Poll().has_value()) {
    opening.exit_code = server->Poll()->code;
    opening.words = server->Output();
    opening.untouched = Contents(folder) == before;
    return opening;
  }
  ENGRAM_RETURN_IF_ERROR(ready);
  opening.served = true;
  ENGRAM_RETURN_IF_ERROR(AskAtHello(*server, store.told, &opening));
  ENGRAM_ASSIGN_OR_RETURN(const auto weights, Weights(*server));
  opening.same_weights = weights == store.weights;
  server->Kill();
  ENGRAM_ASSIGN_OR_RETURN(const auto models, ReadModels(folder, {}));
  ENGRAM_ASSIGN_OR_RETURN(opening.old_lost, CountLost(models, store.told, true));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t lost, CountLost(models, store.told, false));
  opening.young_lost = lost - opening.old_lost;
  return opening;
}

}  // namespace engram::crash
