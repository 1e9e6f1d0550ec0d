#include "storage/rocksdb_inspection.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/base/status_macros.h"
#include "storage/high_water.h"
#include "storage/rocksdb_checkpoint_store.h"
#include "storage/rocksdb_engine.h"
#include "storage/rocksdb_model_catalog.h"
#include "storage/rocksdb_sample_log.h"
#include "storage/witness_check.h"

namespace engram::storage {
namespace {

constexpr size_t kNamedModelsMax = 8;

class Inspection {
 public:
  Inspection(const StoreOptions& options, const StoreHooks& hooks)
      : options_(options), hooks_(hooks), disk_(MeasureFolder(options.folder), 0) {}

  absl::Status Run() {
    ENGRAM_ASSIGN_OR_RETURN(const auto witness, HighWater::Open(options_.folder));
    ENGRAM_ASSIGN_OR_RETURN(engine_, RocksDbEngine::OpenForReading(options_.folder, hooks_));
    ENGRAM_RETURN_IF_ERROR(CheckAgainstWitness(*witness, engine_->Evidence()));
    if (engine_->TableBytes() <= options_.verify_bytes_max) {
      ENGRAM_RETURN_IF_ERROR(engine_->VerifyTables([](int64_t) { return true; }));
    }
    return CheckModels();
  }

  // In words.
  std::string LastGoodCheckpoints() {
    if (engine_ == nullptr) {
      auto lenient = RocksDbEngine::OpenForReading(options_.folder, hooks_,
                                                   RocksDbEngine::Reading::kLenient);
      if (!lenient.ok()) return "unknown, the database cannot be read";
      engine_ = *std::move(lenient);
    }
    RocksDbModelCatalog catalog(engine_.get(), &disk_, options_);
    RocksDbCheckpointStore checkpoints(engine_.get(), &disk_, options_);
    const absl::Status recovered = catalog.Recover();
    const absl::StatusOr<std::vector<ModelRow>> rows = catalog.List();
    if (!recovered.ok() || !rows.ok()) return "unknown, the catalogue of models cannot be read";
    std::vector<std::string> names;
    for (const ModelRow& model : *rows) {
      if (names.size() == kNamedModelsMax) break;
      const absl::optional<CheckpointRow> good = checkpoints.NewestWhole(model.uid);
      names.push_back(good.has_value() ? absl::StrCat(good->id, " of model \"", model.name,
                                                      "\" at sequence ", good->applied)
                                       : absl::StrCat("none of model \"", model.name, "\""));
    }
    return names.empty() ? "none" : absl::StrJoin(names, ", ");
  }

 private:
  absl::Status CheckModels() {
    RocksDbModelCatalog catalog(engine_.get(), &disk_, options_);
    RocksDbCheckpointStore checkpoints(engine_.get(), &disk_, options_);
    RocksDbSampleLog log(engine_.get(), &disk_, options_);
    ENGRAM_RETURN_IF_ERROR(catalog.Recover());
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<ModelRow> rows, catalog.List());
    for (const ModelRow& model : rows) {
      ENGRAM_RETURN_IF_ERROR(log.Open(model.uid));
      ENGRAM_RETURN_IF_ERROR(log.Producers(model.uid).status());
      ENGRAM_RETURN_IF_ERROR(checkpoints.List(model.uid).status());
    }
    return absl::OkStatus();
  }

  const StoreOptions& options_;
  const StoreHooks& hooks_;
  DiskWatch disk_;
  std::unique_ptr<RocksDbEngine> engine_;
};

}  // namespace

absl::Status InspectStore(const StoreOptions& options, const StoreHooks& hooks) {
  Inspection inspection(options, hooks);
  const absl::Status found = inspection.Run();
  if (!absl::IsDataLoss(found)) return found;
  return absl::DataLossError(absl::StrCat(found.message(), "; last good checkpoint: ",
                                          inspection.LastGoodCheckpoints(),
                                          "; nothing was modified"));
}

}  // namespace engram::storage
