#include "strategies/core/arena_archive.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

// Calls visit(name, view) for each parameter and each saved companion.
template <typename Visit>
absl::Status ForEachArray(const ParameterArena& arena, Visit visit) {
  for (size_t i = 0; i < arena.slots().size(); ++i) {
    const ParameterId id = static_cast<ParameterId>(i);
    const std::string& name = arena.slots()[i].name;
    ENGRAM_RETURN_IF_ERROR(visit(absl::StrCat("parameter/", name), arena.View(id)));
    for (const ParameterArena::CompanionEntry& companion : arena.companions()) {
      if (companion.persistence != ParameterArena::Persistence::kSaved) continue;
      ENGRAM_RETURN_IF_ERROR(
          visit(absl::StrCat(companion.name, "/", name), arena.View(companion.values, id)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

void SaveArena(const ParameterArena& arena, StateWriter* writer) {
  const auto put = [writer](const std::string& name, const at::Tensor& view) {
    writer->PutTensor(name, view);
    return absl::OkStatus();
  };
  ForEachArray(arena, put).IgnoreError();  // putting cannot fail
}

absl::Status LoadArena(const StateReader& reader, ParameterArena* arena) {
  return ForEachArray(*arena, [&reader](const std::string& name, const at::Tensor& view) {
    return reader.GetTensor(name, view);
  });
}

}  // namespace engram::strategies
