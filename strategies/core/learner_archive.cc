// Save and restore of a whole LearnerState.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/api/compute.h"
#include "strategies/core/arena_archive.h"
#include "strategies/core/learner_state.h"

namespace engram::strategies {
namespace {

constexpr int64_t kFormatVersion = 1;

std::string StrategyPrefix(size_t position) { return absl::StrCat("strategy/", position, "/"); }

void SaveUnits(const UnitMap& units, StateWriter* writer) {
  std::vector<int64_t> flat;
  for (const UnitMap::Owner& owner : units.owners()) {
    flat.push_back(owner.task);
    flat.push_back(owner.cls);
  }
  writer->PutInts("units", flat);
}

absl::Status LoadUnits(const StateReader& reader, LearnerState* state) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> flat, reader.GetInts("units"));
  if (flat.size() % 2 != 0) return absl::DataLossError("units: odd number of values");
  std::vector<UnitMap::Owner> owners;
  for (size_t i = 0; i < flat.size(); i += 2) {
    if (flat[i] < 0 || flat[i] > INT32_MAX || flat[i + 1] < 0 || flat[i + 1] > INT32_MAX) {
      return absl::DataLossError(absl::StrCat("units: output ", i / 2, " has a bad task or class"));
    }
    owners.push_back({static_cast<int32_t>(flat[i]), static_cast<int32_t>(flat[i + 1])});
  }
  const absl::Status loaded = state->units.Load(owners);
  if (!loaded.ok()) return absl::FailedPreconditionError(loaded.message());
  const int64_t missing = state->units.size() - state->network->units();
  if (missing > 0) state->network->AddUnits(missing, &state->generator);
  return absl::OkStatus();
}

absl::Status SameText(const StateReader& reader, absl::string_view name,
                      const std::string& expected) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string found, reader.GetText(name));
  if (found == expected) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(name, ": saved ", found, ", this model has ", expected));
}

absl::Status LoadGenerator(const StateReader& reader, Generator* generator) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<uint64_t> words, reader.GetUnsigned("generator"));
  Generator::State generator_state;
  if (words.size() != generator_state.size()) {
    return absl::DataLossError(absl::StrCat("generator: expected ", generator_state.size(),
                                            " words, found ", words.size()));
  }
  std::copy(words.begin(), words.end(), generator_state.begin());
  generator->set_state(generator_state);
  return absl::OkStatus();
}

absl::Status LoadTensors(const StateReader& reader, LearnerState* state) {
  ENGRAM_RETURN_IF_ERROR(SameText(reader, "format", absl::StrCat(kFormatVersion)));
  ENGRAM_RETURN_IF_ERROR(SameText(reader, "strategies", absl::StrCat(state->strategies.size())));
  ENGRAM_RETURN_IF_ERROR(state->network->LoadState(reader.Scoped("network/")));
  ENGRAM_RETURN_IF_ERROR(LoadUnits(reader, state));
  ENGRAM_RETURN_IF_ERROR(LoadArena(reader, &state->arena));
  ENGRAM_RETURN_IF_ERROR(state->optimizer->LoadState(reader.Scoped("optimizer/")));
  for (size_t i = 0; i < state->strategies.size(); ++i) {
    Strategy& strategy = *state->strategies[i];
    const StateReader scoped = reader.Scoped(StrategyPrefix(i));
    ENGRAM_RETURN_IF_ERROR(SameText(scoped, "name", std::string(strategy.Name())));
    ENGRAM_RETURN_IF_ERROR(SameText(scoped, "version", absl::StrCat(strategy.StateVersion())));
    ENGRAM_RETURN_IF_ERROR(strategy.LoadState(scoped));
  }
  ENGRAM_ASSIGN_OR_RETURN(state->examples_seen, reader.GetInteger("examples_seen"));
  ENGRAM_ASSIGN_OR_RETURN(state->boundaries_seen, reader.GetInteger("boundaries_seen"));
  state->context->set_boundaries(state->boundaries_seen);
  ENGRAM_RETURN_IF_ERROR(
      state->context->penalty_schedule().LoadState(reader.Scoped("penalty_schedule/")));
  // Last: adding outputs above drew from it.
  return LoadGenerator(reader, &state->generator);
}

absl::Status LoadConsolidation(const StateReader& reader, absl::Span<const MemberPayload> payloads,
                               LearnerState* state) {
  if (state->consolidation == nullptr) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> saved_order,
                          reader.GetInts("consolidation/class_order"));
  return state->consolidation->Restore(
      payloads, std::vector<int32_t>(saved_order.begin(), saved_order.end()));
}

// Payloads come memory by memory, in the order in which SaveState listed them.
absl::Status LoadMembers(const StateReader& reader, const SavedLearner& saved,
                         const std::vector<MemberPayload>& payloads, LearnerState* state) {
  if (payloads.size() != saved.members.size()) {
    return absl::DataLossError(absl::StrCat("members: ", saved.members.size(), " saved, ",
                                            payloads.size(), " payloads given"));
  }
  for (size_t i = 0; i < payloads.size(); ++i) {
    if (payloads[i].key == saved.members[i]) continue;
    return absl::DataLossError(absl::StrCat("members: payload ", i, " is of sequence ",
                                            payloads[i].key.sequence, ", expected ",
                                            saved.members[i].sequence));
  }
  size_t next = 0;
  const auto take =
      [&](const StateReader& from) -> absl::StatusOr<absl::Span<const MemberPayload>> {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t count, from.GetInteger("members"));
    if (count < 0 || static_cast<size_t>(count) > payloads.size() - next) {
      return absl::DataLossError(
          absl::StrCat("members: ", count, " named, ", payloads.size() - next, " left"));
    }
    const auto part = absl::MakeConstSpan(payloads).subspan(next, static_cast<size_t>(count));
    next += part.size();
    return part;
  };
  for (size_t i = 0; i < state->strategies.size(); ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const auto part, take(reader.Scoped(StrategyPrefix(i))));
    ENGRAM_RETURN_IF_ERROR(state->strategies[i]->RestoreMembers(part));
  }
  ENGRAM_ASSIGN_OR_RETURN(const auto part, take(reader.Scoped("consolidation/")));
  ENGRAM_RETURN_IF_ERROR(LoadConsolidation(reader, part, state));
  if (next == payloads.size()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("members: ", payloads.size() - next, " belong nowhere"));
}

}  // namespace

absl::StatusOr<SavedLearner> SaveState(const LearnerState& state,
                                       const std::function<bool(const MemberKey&)>& is_stored) {
  SavedLearner saved;
  StateWriter writer;
  writer.PutInteger("format", kFormatVersion);
  writer.PutText("compute", DescribeCompute().Fingerprint());
  writer.PutInteger("strategies", static_cast<int64_t>(state.strategies.size()));
  writer.PutInteger("examples_seen", state.examples_seen);
  writer.PutInteger("boundaries_seen", state.boundaries_seen);
  StateWriter network_writer = writer.Scoped("network/");
  state.network->SaveState(&network_writer);
  SaveUnits(state.units, &writer);
  writer.PutUnsigned("generator", state.generator.state());
  SaveArena(state.arena, &writer);
  StateWriter optimizer_writer = writer.Scoped("optimizer/");
  state.optimizer->SaveState(&optimizer_writer);
  StateWriter penalty_writer = writer.Scoped("penalty_schedule/");
  state.context->penalty_schedule().SaveState(&penalty_writer);
  const auto add_members = [&](const std::vector<MemberKey>& members, StateWriter* scoped,
                               const std::function<std::string(int64_t)>& payload) {
    scoped->PutInteger("members", static_cast<int64_t>(members.size()));
    for (size_t i = 0; i < members.size(); ++i) {
      saved.members.push_back(members[i]);
      if (is_stored(members[i])) continue;
      saved.new_payloads.push_back({members[i], payload(static_cast<int64_t>(i))});
    }
  };
  for (size_t i = 0; i < state.strategies.size(); ++i) {
    const Strategy& strategy = *state.strategies[i];
    StateWriter scoped = writer.Scoped(StrategyPrefix(i));
    scoped.PutText("name", strategy.Name());
    scoped.PutInteger("version", strategy.StateVersion());
    strategy.SaveState(&scoped);
    add_members(strategy.Members(), &scoped,
                [&strategy](int64_t index) { return strategy.Payload(index); });
  }
  StateWriter scoped = writer.Scoped("consolidation/");
  if (const ExemplarMemory* memory = state.consolidation.get()) {
    const std::vector<int32_t>& order = memory->class_order();
    scoped.PutInts("class_order", std::vector<int64_t>(order.begin(), order.end()));
    add_members(memory->Members(), &scoped,
                [memory](int64_t slot) { return memory->Payload(slot); });
  } else {
    add_members({}, &scoped, nullptr);
  }
  saved.tensors = writer.Finish();
  return saved;
}

absl::StatusOr<std::unique_ptr<LearnerState>> LoadState(
    const ModelOptions& options, const SavedLearner& saved,
    const std::vector<MemberPayload>& payloads) {
  ENGRAM_ASSIGN_OR_RETURN(const StateReader reader, StateReader::Open(saved.tensors));
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<LearnerState> state, LearnerState::Make(options));
  ENGRAM_RETURN_IF_ERROR(LoadTensors(reader, state.get()));
  ENGRAM_RETURN_IF_ERROR(LoadMembers(reader, saved, payloads, state.get()));
  return state;
}

}  // namespace engram::strategies
