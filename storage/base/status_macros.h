// Early return on a failed Status, the only control-flow macros of the project.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define ENGRAM_RETURN_IF_ERROR(expr)                   \
  do {                                                 \
    absl::Status engram_status = (expr);               \
    if (!engram_status.ok()) return engram_status;     \
  } while (false)

#define ENGRAM_CONCAT_INNER(a, b) a##b
#define ENGRAM_CONCAT(a, b) ENGRAM_CONCAT_INNER(a, b)

// ENGRAM_ASSIGN_OR_RETURN(auto row, store.Get(key));
#define ENGRAM_ASSIGN_OR_RETURN(lhs, expr) \
  ENGRAM_ASSIGN_OR_RETURN_IMPL(ENGRAM_CONCAT(engram_statusor_, __LINE__), lhs, expr)
#define ENGRAM_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr) \
  auto statusor = (expr);                                 \
  if (!statusor.ok()) return statusor.status();           \
  lhs = std::move(statusor).value()
