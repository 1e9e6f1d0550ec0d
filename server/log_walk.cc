#include "server/log_walk.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr uint64_t kReadRecords = 4096;
constexpr size_t kReadBytes = 16 << 20;

}  // namespace

absl::Status ForEachRecord(const ModelContext& context, uint64_t from, uint64_t to,
                           absl::FunctionRef<absl::Status(const storage::LogRecord&)> visit) {
  storage::SampleLog& log = context.store->log();
  from = std::max<uint64_t>(from, log.TrimMark(context.uid) + 1);
  to = std::min<uint64_t>(to, log.DurableSequence(context.uid));
  while (from <= to) {
    const uint64_t count = std::min(kReadRecords, to - from + 1);
    ENGRAM_ASSIGN_OR_RETURN(const auto records, log.Read(context.uid, from, count, kReadBytes));
    if (records.empty()) return absl::DataLossError(absl::StrCat("the log lacks record ", from));
    for (const storage::LogRecord& record : records) ENGRAM_RETURN_IF_ERROR(visit(record));
    from = records.back().sequence + 1;
  }
  return absl::OkStatus();
}

}  // namespace engram::server
