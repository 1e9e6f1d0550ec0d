#include "tests/crash/oracle.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/example.pb.h"
#include "server/record_kind.h"

namespace engram::crash {
namespace {

using server::RecordKind;

bool Is(uint8_t kind, RecordKind which) { return kind == static_cast<uint8_t>(which); }

// What one id stands for in the log.
struct Seen {
  int times = 0;
  std::string features;
};
using SeenById = std::map<std::string, Seen>;

class Judgement {
 public:
  explicit Judgement(const std::vector<storage::LogRecord>& records) {
    for (const storage::LogRecord& record : records) Note(record);
  }

  void Hear(const Testimony& testimony) {
    for (uint64_t sequence = 1; sequence <= testimony.entries.last_sent; ++sequence) {
      if (testimony.plan.IsBoundary(sequence)) {
        HearBoundary(testimony, sequence);
      } else {
        HearExamples(testimony, sequence);
      }
    }
  }

  // What nobody has spoken for.
  Verdict Close() {
    for (const auto& [id, seen] : seen_) Find(&verdict_.unexpected, id, "was never sent");
    return verdict_;
  }

  void Find(int64_t* counter, const std::string& id, const std::string& what) {
    ++*counter;
    if (verdict_.first_findings.size() < 10) {
      verdict_.first_findings.push_back(absl::StrCat(id, " ", what));
    }
  }

  Verdict& verdict() { return verdict_; }

 private:
  void Note(const storage::LogRecord& record) {
    if (Is(record.kind, RecordKind::kExample)) {
      v1::Example example;
      if (!example.ParseFromString(record.payload)) {
        return Find(&verdict_.altered, absl::StrCat("record ", record.sequence), "does not parse");
      }
      Seen& seen = seen_[example.id()];
      ++seen.times;
      seen.features = example.features().dense();
    } else if (Is(record.kind, RecordKind::kBoundary)) {
      internal::BoundaryRecord boundary;
      boundary.ParseFromString(record.payload);
      ++seen_[boundary.next_task()].times;
    }
  }

  // Takes an id out of what was seen.
  Seen Take(const std::string& id) {
    const auto found = seen_.find(id);
    if (found == seen_.end()) return {};
    const Seen seen = found->second;
    seen_.erase(found);
    if (seen.times > 1) Find(&verdict_.twice, id, absl::StrCat("is there ", seen.times, " times"));
    return seen;
  }

  void HearBoundary(const Testimony& testimony, uint64_t sequence) {
    const std::string id = testimony.plan.Id(sequence, 0);
    const bool there = Take(id).times > 0;
    const LedgerEntries& entries = testimony.entries;
    if (entries.rejected.count(sequence) > 0) return;
    // A repeat is acked without saying how the first attempt was answered.
    const bool sure = sequence <= entries.last_acked && entries.resent.count(sequence) == 0;
    if (sure && !there) Find(&verdict_.lost, id, "(a boundary) was acked");
  }

  void HearExamples(const Testimony& testimony, uint64_t sequence) {
    const v1::LearnMessage message = testimony.plan.Message(sequence);
    const bool acked = sequence <= testimony.entries.last_acked;
    const bool rejected = testimony.entries.rejected.count(sequence) > 0;
    int there = 0;
    for (const v1::Example& example : message.examples()) {
      const Seen seen = Take(example.id());
      there += seen.times > 0 ? 1 : 0;
      if (seen.times > 0 && seen.features != example.features().dense()) {
        Find(&verdict_.altered, example.id(), "has other features");
      }
      if (acked && !rejected && seen.times == 0) Find(&verdict_.lost, example.id(), "was acked");
    }
    if (acked && !rejected) verdict_.acked_examples += message.examples_size();
    if (rejected && there > 0) Find(&verdict_.unexpected, message.examples(0).id(), "was rejected");
    if (there > 0 && there < message.examples_size()) {
      Find(&verdict_.torn, message.examples(0).id(), "is there without its neighbours");
    }
  }

  SeenById seen_;
  Verdict verdict_;
};

}  // namespace

Verdict Judge(const std::vector<storage::LogRecord>& records,
              const std::vector<Testimony>& testimonies,
              const std::vector<AnsweredRollback>& rollbacks) {
  Judgement judgement(records);
  for (const Testimony& testimony : testimonies) judgement.Hear(testimony);
  for (const AnsweredRollback& rollback : rollbacks) {
    const size_t at = static_cast<size_t>(rollback.sequence) - 1;
    internal::RollbackRecord stored;
    const bool there = at < records.size() && Is(records[at].kind, RecordKind::kRollback) &&
                       stored.ParseFromString(records[at].payload) &&
                       stored.restored_sequence() == rollback.restored;
    const std::string name = absl::StrCat("rollback at ", rollback.sequence);
    if (!there) judgement.Find(&judgement.verdict().lost, name, "was answered");
  }
  return judgement.Close();
}

std::vector<bool> Standing(const std::vector<storage::LogRecord>& records) {
  std::vector<bool> standing(records.size(), false);
  // From the end: a rollback at r hides (restored, r]; what stood before it is what stood at
  // `restored`, whatever other rollbacks did between.
  for (size_t i = records.size(); i > 0;) {
    const storage::LogRecord& record = records[i - 1];
    if (!Is(record.kind, RecordKind::kRollback)) {
      standing[--i] = true;
      continue;
    }
    internal::RollbackRecord rollback;
    rollback.ParseFromString(record.payload);
    i = static_cast<size_t>(rollback.restored_sequence());
  }
  return standing;
}

std::vector<storage::NewRecord> Everything(const std::vector<storage::LogRecord>& records) {
  std::vector<storage::NewRecord> out;
  out.reserve(records.size());
  for (const storage::LogRecord& record : records) out.push_back({record.kind, record.payload});
  return out;
}

std::vector<storage::NewRecord> WithoutDropped(const std::vector<storage::LogRecord>& records) {
  const std::vector<bool> standing = Standing(records);
  std::vector<storage::NewRecord> out;
  out.reserve(records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    if (standing[i]) {
      out.push_back({records[i].kind, records[i].payload});
    } else {
      out.push_back({static_cast<uint8_t>(RecordKind::kFlush), ""});
    }
  }
  return out;
}

bool AlterOneExample(std::vector<storage::NewRecord>* records) {
  for (size_t i = records->size(); i > 0; --i) {
    storage::NewRecord& record = (*records)[i - 1];
    v1::Example example;
    if (!Is(record.kind, RecordKind::kExample) || !example.ParseFromString(record.payload) ||
        example.split() != v1::TRAIN) {
      continue;
    }
    // The sign of the first feature.
    std::string& dense = *example.mutable_features()->mutable_dense();
    dense[3] = static_cast<char>(dense[3] ^ static_cast<char>(0x80));
    record.payload = example.SerializeAsString();
    return true;
  }
  return false;
}

}  // namespace engram::crash
