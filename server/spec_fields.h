// Pieces of engram.v1.ModelSpec that more than one reader takes apart.
//
// Threading: pure functions. Failure: none.
#pragma once

#include <string>

#include "engram/v1/model.pb.h"

namespace engram::server {

// The field of the strategy's own message inside the oneof, whose name is the strategy's; null when
// none is set.
const google::protobuf::FieldDescriptor* StrategyField(const v1::StrategySpec& strategy);

// Sets what may change on a running model: optimizer, strategies, augmentation, penalty schedule.
void CopyLiveFields(const v1::ModelSpec& from, v1::ModelSpec* to);

// The first field in which two specs differ, with both values; empty when they are equal.
std::string FirstDifference(const v1::ModelSpec& before, const v1::ModelSpec& after);

}  // namespace engram::server
