// The verbs of the `engram` command, one file a group. Each follows the contract of client/verb.h
// and prints its own help for --help.
//
// Threading: main thread. Ownership: nothing is kept. Failure: exit codes of client/verb.h.
// Bounds: none of their own.
#pragma once

#include <string>
#include <vector>

#include "client/verb.h"

namespace engram::client {

using Arguments = std::vector<std::string>;

int ModelCreate(const VerbContext& context, const Arguments& args);
int ModelList(const VerbContext& context, const Arguments& args);
int ModelShow(const VerbContext& context, const Arguments& args);
int ModelUpdate(const VerbContext& context, const Arguments& args);
int ModelDelete(const VerbContext& context, const Arguments& args);
int ModelPause(const VerbContext& context, const Arguments& args);
int ModelResume(const VerbContext& context, const Arguments& args);

int Learn(const VerbContext& context, const Arguments& args);
int MarkBoundary(const VerbContext& context, const Arguments& args);
int Predict(const VerbContext& context, const Arguments& args);

int ShowReport(const VerbContext& context, const Arguments& args);
int Watch(const VerbContext& context, const Arguments& args);

int CheckpointCreate(const VerbContext& context, const Arguments& args);
int CheckpointList(const VerbContext& context, const Arguments& args);
int CheckpointShow(const VerbContext& context, const Arguments& args);
int CheckpointDelete(const VerbContext& context, const Arguments& args);
int CheckpointExport(const VerbContext& context, const Arguments& args);
int CheckpointImport(const VerbContext& context, const Arguments& args);
int Rollback(const VerbContext& context, const Arguments& args);
int Erase(const VerbContext& context, const Arguments& args);
int Blame(const VerbContext& context, const Arguments& args);

int StrategyList(const VerbContext& context, const Arguments& args);
int StrategyExplain(const VerbContext& context, const Arguments& args);

int TuneStart(const VerbContext& context, const Arguments& args);
int TuneShow(const VerbContext& context, const Arguments& args);
int TunePromote(const VerbContext& context, const Arguments& args);
int TuneStop(const VerbContext& context, const Arguments& args);

int BackupCreate(const VerbContext& context, const Arguments& args);
int BackupVerify(const VerbContext& context, const Arguments& args);
int BackupRestore(const VerbContext& context, const Arguments& args);

int Doctor(const VerbContext& context, const Arguments& args);

int Completion(const VerbContext& context, const Arguments& args);

int Reload(const VerbContext& context, const Arguments& args);
int LossAcknowledge(const VerbContext& context, const Arguments& args);
int AuditList(const VerbContext& context, const Arguments& args);

int QuarantineList(const VerbContext& context, const Arguments& args);
int QuarantineRelease(const VerbContext& context, const Arguments& args);
int QuarantineRejected(const VerbContext& context, const Arguments& args);

}  // namespace engram::client
