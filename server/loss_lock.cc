#include "server/loss_lock.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/small_file.h"
#include "storage/base/status_macros.h"
#include "storage/crc32c.h"

namespace engram::server {
namespace {

constexpr size_t kLossesMax = 64;

// "crc32c HEX\n" before the bytes it is of.
std::string Seal(const std::string& bytes) {
  return absl::StrCat("crc32c ", absl::Hex(storage::Crc32c(bytes), absl::kZeroPad8), "\n", bytes);
}

absl::StatusOr<internal::LossBook> Unseal(const std::string& file) {
  internal::LossBook book;
  const size_t head = file.find('\n');
  const std::string bytes = head == std::string::npos ? "" : file.substr(head + 1);
  if (Seal(bytes) != file || !book.ParseFromString(bytes)) {
    return absl::DataLossError(
        absl::StrCat("the file \"", LossBook::kFile,
                     "\" in --data_dir is damaged: it says which models wait "
                     "for Admin.AcknowledgeLoss; remove it to start with none locked"));
  }
  return book;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LossBook>> LossBook::Open(const std::string& folder) {
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> file, ReadSmallFile(folder, kFile));
  internal::LossBook stored;
  if (file.has_value()) {
    ENGRAM_ASSIGN_OR_RETURN(stored, Unseal(*file));
  }
  return std::unique_ptr<LossBook>(new LossBook(folder, std::move(stored)));
}

std::vector<internal::StoredLoss> LossBook::Of(storage::ModelUid uid) const {
  base::MutexLock lock(&mutex_);
  for (const internal::ModelLosses& model : stored_.models()) {
    if (model.uid() == uid) return {model.losses().begin(), model.losses().end()};
  }
  return {};
}

absl::Status LossBook::Put(storage::ModelUid uid,
                           const std::vector<internal::StoredLoss>& losses) {
  base::MutexLock lock(&mutex_);
  internal::LossBook next;
  for (const internal::ModelLosses& model : stored_.models()) {
    if (model.uid() != uid) *next.add_models() = model;
  }
  if (next.models_size() == stored_.models_size() && losses.empty()) return absl::OkStatus();
  if (!losses.empty()) {
    internal::ModelLosses* model = next.add_models();
    model->set_uid(uid);
    for (const internal::StoredLoss& loss : losses) *model->add_losses() = loss;
  }
  ENGRAM_RETURN_IF_ERROR(WriteSmallFile(folder_, kFile, Seal(next.SerializeAsString())));
  stored_.Swap(&next);
  return absl::OkStatus();
}

LossLock::LossLock(storage::ModelUid uid, std::string model, LossBook* book,
                   Background* background)
    : uid_(uid), model_(std::move(model)), book_(book), background_(background) {
  base::MutexLock lock(&mutex_);
  if (book_ != nullptr) losses_ = book_->Of(uid_);
  NoteLocked();
}

void LossLock::NoteLocked() {
  locked_.store(std::any_of(losses_.begin(), losses_.end(),
                            [](const auto& each) { return !each.acknowledged(); }),
                std::memory_order_release);
}

absl::Status LossLock::CheckOpen() const {
  if (!locked_.load(std::memory_order_acquire)) return absl::OkStatus();
  const std::vector<v1::Loss> losses = Open();
  if (losses.empty()) return absl::OkStatus();
  const v1::Loss& first = losses.front();
  return WrongState(
      "LOSS", model_,
      absl::StrCat("learning is locked: producer \"", first.producer(), "\" holds ack ",
                   first.client_sequence(), ", server has ", first.server_sequence(),
                   losses.size() > 1 ? absl::StrCat(", and ", losses.size() - 1, " more") : "",
                   "; an admin must acknowledge the loss (engram loss acknowledge ", model_, ")"));
}

void LossLock::Lock(v1::Loss loss, std::function<void()> done) {
  {
    base::MutexLock lock(&mutex_);
    const auto known = std::find_if(losses_.begin(), losses_.end(), [&loss](const auto& each) {
      return each.loss().producer() == loss.producer();
    });
    if (known != losses_.end()) {
      known->set_acknowledged(false);
      known->mutable_loss()->Swap(&loss);
    } else if (losses_.size() < kLossesMax) {
      losses_.emplace_back();
      losses_.back().mutable_loss()->Swap(&loss);
    }
    NoteLocked();
  }
  background_->Push([self = shared_from_this(), done = std::move(done)] {
    const absl::Status written = self->Write();
    // Locked all the same; after a restart the next hello finds the loss again.
    if (!written.ok()) Log(LogLevel::kError, "losses_not_written", {{"reason", written}});
    done();
  });
}

uint64_t LossLock::Acknowledged(absl::string_view producer) const {
  base::MutexLock lock(&mutex_);
  for (const internal::StoredLoss& each : losses_) {
    if (each.acknowledged() && each.loss().producer() == producer) {
      return each.loss().client_sequence();
    }
  }
  return 0;
}

void LossLock::Forget(const std::string& producer) {
  {
    base::MutexLock lock(&mutex_);
    const auto gone = std::remove_if(losses_.begin(), losses_.end(), [&](const auto& each) {
      return each.acknowledged() && each.loss().producer() == producer;
    });
    if (gone == losses_.end()) return;
    losses_.erase(gone, losses_.end());
  }
  background_->Push([self = shared_from_this()] {
    const absl::Status written = self->Write();
    if (!written.ok()) Log(LogLevel::kError, "losses_not_written", {{"reason", written}});
  });
}

std::vector<v1::Loss> LossLock::Open() const {
  base::MutexLock lock(&mutex_);
  std::vector<v1::Loss> losses;
  for (const internal::StoredLoss& each : losses_) {
    if (!each.acknowledged()) losses.push_back(each.loss());
  }
  return losses;
}

absl::StatusOr<std::vector<v1::Loss>> LossLock::Acknowledge(const std::string& producer) {
  std::vector<v1::Loss> acknowledged;
  std::vector<internal::StoredLoss> next;
  base::MutexLock write_lock(&write_mutex_);
  {
    base::MutexLock lock(&mutex_);
    next = losses_;
  }
  for (internal::StoredLoss& each : next) {
    if (each.acknowledged()) continue;
    if (!producer.empty() && each.loss().producer() != producer) continue;
    each.set_acknowledged(true);
    acknowledged.push_back(each.loss());
  }
  if (acknowledged.empty()) return acknowledged;
  if (book_ != nullptr) ENGRAM_RETURN_IF_ERROR(book_->Put(uid_, next));
  base::MutexLock lock(&mutex_);
  // What was found meanwhile still waits.
  for (internal::StoredLoss& each : losses_) {
    for (const v1::Loss& loss : acknowledged) {
      const bool same = each.loss().producer() == loss.producer() &&
                        each.loss().client_sequence() == loss.client_sequence();
      if (same) each.set_acknowledged(true);
    }
  }
  NoteLocked();
  return acknowledged;
}

absl::Status LossLock::Write() {
  base::MutexLock write_lock(&write_mutex_);
  std::vector<internal::StoredLoss> losses;
  {
    base::MutexLock lock(&mutex_);
    losses = losses_;
  }
  return book_ == nullptr ? absl::OkStatus() : book_->Put(uid_, losses);
}

}  // namespace engram::server
