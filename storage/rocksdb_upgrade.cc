#include "storage/rocksdb_upgrade.h"

#include <algorithm>
#include <map>
#include <string>

#include "storage/base/status_macros.h"
#include "storage/codec.h"
#include "storage/log_record.h"
#include "storage/log_rows.h"
#include "storage/meta_keys.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

absl::Status AddTrimMarks(const RocksDbEngine& engine, std::map<ModelUid, Sequence>* ends) {
  const std::string prefix = MetaKey(MetaTag::kTrimMark);
  absl::Status damage;
  ENGRAM_RETURN_IF_ERROR(engine.Scan(
      ColumnFamily::kMeta, prefix, PrefixEnd(prefix),
      [&](absl::string_view key, absl::string_view value) {
        const absl::optional<LogPosition> mark = DecodePosition(key, value);
        if (!mark.has_value()) damage = absl::DataLossError("a trim mark fails its checksum");
        if (mark.has_value()) (*ends)[LastNumber(key)] = mark->sequence;
        return damage.ok();
      }));
  return damage;
}

// From model to model, without reading what lies between.
absl::Status AddLogEnds(const RocksDbEngine& engine, std::map<ModelUid, Sequence>* ends) {
  for (ModelUid next = 0;;) {
    absl::optional<ModelUid> model;
    ENGRAM_RETURN_IF_ERROR(engine.Scan(ColumnFamily::kLog, ToView(MakeLogKey(next, 0)),
                                       ToView(MakeLogKey(UINT64_MAX, 0)),
                                       [&](absl::string_view key, absl::string_view /*value*/) {
                                         model = ReadBig64(key.data());
                                         return false;
                                       }));
    if (!model.has_value()) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(
        const absl::optional<std::string> last,
        engine.LastKey(ColumnFamily::kLog, ToView(MakeLogKey(*model, 0)),
                       ToView(MakeLogKey(*model + 1, 0))));
    Sequence& end = (*ends)[*model];
    if (last.has_value()) end = std::max(end, SequenceOf(*last));
    next = *model + 1;
  }
}

}  // namespace

absl::Status UpgradeFromFormat1(RocksDbEngine* engine) {
  std::map<ModelUid, Sequence> ends;
  ENGRAM_RETURN_IF_ERROR(AddTrimMarks(*engine, &ends));
  ENGRAM_RETURN_IF_ERROR(AddLogEnds(*engine, &ends));
  rocksdb::WriteBatch batch;
  for (const auto& [model, end] : ends) {
    const std::string key = MetaKey(MetaTag::kUnnamed, model);
    LogPosition position;
    position.sequence = end;
    batch.Put(engine->handle_of(ColumnFamily::kMeta), key, EncodePosition(key, position));
  }
  return engine->Write(&batch, Durability::kSynced);
}

}  // namespace engram::storage
