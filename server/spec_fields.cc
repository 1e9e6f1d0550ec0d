#include "server/spec_fields.h"

#include "google/protobuf/util/message_differencer.h"

namespace engram::server {

const google::protobuf::FieldDescriptor* StrategyField(const v1::StrategySpec& strategy) {
  return v1::StrategySpec::GetReflection()->GetOneofFieldDescriptor(
      strategy, v1::StrategySpec::descriptor()->FindOneofByName("kind"));
}

void CopyLiveFields(const v1::ModelSpec& from, v1::ModelSpec* to) {
  *to->mutable_optimizer() = from.optimizer();
  *to->mutable_strategies() = from.strategies();
  to->clear_augmentation();
  if (from.has_augmentation()) *to->mutable_augmentation() = from.augmentation();
  to->clear_penalty_schedule();
  if (from.has_penalty_schedule()) *to->mutable_penalty_schedule() = from.penalty_schedule();
}

std::string FirstDifference(const v1::ModelSpec& before, const v1::ModelSpec& after) {
  std::string differences;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(before, after)) return "";
  return differences.substr(0, differences.find('\n'));
}

}  // namespace engram::server
