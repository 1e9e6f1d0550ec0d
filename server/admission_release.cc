// Examples out of quarantine on their way back into the log.
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission.h"
#include "server/errors.h"
#include "storage/base/check.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"

namespace engram::server {

void Admission::NoteRejection(const std::string& producer, const v1::LearnMessage& message,
                              const absl::Status& status) const {
  options_.statistics->rejected_examples += message.examples_size();
  options_.rejected->Add(absl::ToUnixMillis(options_.clock->Now()), producer, message, status);
}

absl::Status Admission::CheckReleases(const std::vector<Release>& releases, uint64_t listed_at) {
  ENGRAM_RETURN_IF_ERROR(CheckOpen());
  const auto& rewinds = head_.proto().rewinds();
  if (!rewinds.empty() && rewinds.rbegin()->record() > listed_at) {
    return WrongState("ROLLBACK", absl::StrCat(rewinds.rbegin()->record()),
                      "a rollback is under way, and may change the list: ask again");
  }
  // Whatever was released up to there has left the list, or is back on it for good reason.
  head_.ForgetReleases(listed_at);
  v1::LearnMessage message;
  for (const Release& release : releases) {
    const uint64_t sequence = release.record.sequence();
    if (const uint64_t as = head_.ReleasedAs(sequence); as != 0) {
      return WrongState("RELEASE", absl::StrCat(sequence),
                        absl::StrCat(sequence, " is released already, as record ", as,
                                     ", which is not learned yet"));
    }
    v1::Example* example = message.add_examples();
    *example->mutable_label() = release.record.example().label();
    example->set_task(release.record.example().task());
  }
  return CheckExamples(message);
}

absl::Status Admission::SubmitReleases(
    const std::vector<Release>& releases, uint64_t listed_at,
    std::function<void(uint64_t, const absl::Status&)> on_durable) {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckReleases(releases, listed_at));
  storage::Submission submission;
  submission.model = options_.uid;
  for (const Release& release : releases) {
    const v1::Example& example = release.record.example();
    submission.records.push_back({static_cast<uint8_t>(RecordKind::kReleased),
                                  release.record.SerializeAsString(), example.id(),
                                  example.subject_id(), release.producer});
  }
  const uint64_t first = log_->AssignedSequence(options_.uid) + 1;
  auto submitted = log_->Submit(
      std::move(submission), [self = shared_from_this(), first,
                              done = std::move(on_durable)](const absl::Status& status) {
        ENGRAM_FAILPOINT("release.durable");
        done(first, self->FromLog(status));
      });
  if (!submitted.ok()) return FromLog(submitted.status());
  ENGRAM_CHECK(*submitted == first);  // nobody else submits for this model
  for (size_t i = 0; i < releases.size(); ++i) {
    head_.ApplyReleased(releases[i].record, first + i);
  }
  return absl::OkStatus();
}

}  // namespace engram::server
