// The flags that describe a model, shared by `model create` and `model update`.
//
// Threading: one thread. Ownership: holds the flags' values; outlive the FlagSet's Parse.
// Failure: INVALID_ARGUMENT naming the flag, or what ReadSpecFile returns. Bounds: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "client/flags.h"
#include "engram/v1/model.pb.h"

namespace engram::client {

class ModelFlags {
 public:
  // What a model has for life.
  void DeclareCreation(FlagSet* flags);
  // What may also change live.
  void DeclareLive(FlagSet* flags);

  // Writes what was given over `spec`: the spec file first, then single flags. A strategy whose
  // kind is in `spec` already has its given parameters changed; others are appended.
  absl::Status ApplyTo(engram::v1::ModelSpec* spec) const;

  // The file of pretrained weights, read whole; nullopt when none was given.
  absl::StatusOr<absl::optional<std::string>> ReadWeights() const;
  // INVALID_ARGUMENT for a name that is none.
  absl::StatusOr<engram::v1::PretrainedWeights::Scope> WeightsScope() const;

 private:
  absl::Status ApplyStrategies(engram::v1::ModelSpec* spec) const;
  absl::Status ApplyNetwork(engram::v1::ModelSpec* spec) const;
  void ApplyNumbers(engram::v1::ModelSpec* spec) const;

  std::string spec_file_;
  absl::optional<int64_t> features_;
  std::vector<int64_t> hidden_;
  bool no_hidden_ = false;
  std::string head_;
  std::string optimizer_;
  absl::optional<double> learning_rate_;
  absl::optional<double> clip_norm_;
  std::string schedule_;
  std::string penalty_schedule_;
  std::string augmentation_;
  absl::optional<double> label_smoothing_;
  absl::optional<double> ema_decay_;
  absl::optional<double> max_sender_share_;
  std::vector<std::string> strategies_;
  std::string labels_;
  absl::optional<int64_t> batch_size_;
  absl::optional<int64_t> max_batch_wait_ms_;
  absl::optional<uint64_t> seed_;
  absl::optional<double> held_out_fraction_;
  absl::optional<int64_t> max_classes_;
  absl::optional<double> max_abs_feature_;
  absl::optional<int64_t> evaluate_every_;
  absl::optional<int64_t> checkpoint_every_;
  std::string first_task_;
  std::string weights_file_;
  std::string weights_scope_;
};

// Such a file whole; `flag` is what names it on the command line.
absl::StatusOr<std::string> ReadWeightsFile(absl::string_view flag, const std::string& path);

}  // namespace engram::client
