// The judge of the crash test: what the producers' ledgers say, against what the log holds. Pure
// functions over records that were read after the server had stopped.
//
// Threading: free functions. Failure: a record that does not parse is a finding, not an error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/sample_log.h"
#include "tests/crash/ledger.h"
#include "tests/crash/message_plan.h"
#include "tests/crash/operator.h"

namespace engram::crash {

struct Testimony {
  MessagePlan plan;
  LedgerEntries entries;
};

struct Verdict {
  int64_t acked_examples = 0;               // that must be there
  int64_t lost = 0;                         // acked, not there
  int64_t twice = 0;                        // there more than once
  int64_t torn = 0;                         // messages of which only a part is there
  int64_t altered = 0;                      // there, with other bytes than were sent
  int64_t unexpected = 0;                   // there, never sent or rejected
  std::vector<std::string> first_findings;  // at most ten, in words

  bool Clean() const { return lost + twice + torn + altered + unexpected == 0; }
};

// Every record of one model against the ledgers of all its producers.
Verdict Judge(const std::vector<storage::LogRecord>& records,
              const std::vector<Testimony>& testimonies,
              const std::vector<AnsweredRollback>& rollbacks);

// Which records still stand at the end: those that no rollback dropped. Element i is sequence i +
// 1; rollback records themselves do not stand. Records must begin at sequence 1.
std::vector<bool> Standing(const std::vector<storage::LogRecord>& records);

// The log as it is.
std::vector<storage::NewRecord> Everything(const std::vector<storage::LogRecord>& records);

// The log that a server would have had if what was dropped had never been said: dropped records and
// rollbacks become flush records, which change nothing at a cut, so that every other record keeps
// its sequence.
std::vector<storage::NewRecord> WithoutDropped(const std::vector<storage::LogRecord>& records);

// Changes one feature of the last standing TRAIN example. False when there is none.
bool AlterOneExample(std::vector<storage::NewRecord>* records);

}  // namespace engram::crash
