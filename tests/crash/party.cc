#include "tests/crash/party.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/crash/final_state.h"
#include "tests/crash/ledger.h"

namespace engram::crash {

void Party::Begin() {
  std::vector<std::string> names;
  for (const auto& [model, spec] : CrashModels()) {
    names.push_back(model);
    for (int i = 0; i < 2; ++i) {
      ProducerOptions options;
      options.model = model;
      options.plan = {seed_, absl::StrCat(model, "-", i), i == 0};
      options.ledger_file = absl::StrCat(folder_, "/ledger.", options.plan.producer);
      options.examples_per_second = examples_per_second_;
      producers_.push_back(std::make_unique<Producer>(std::move(options), &addresses_));
    }
  }
  somebody_ = std::make_unique<Operator>(seed_, names, &addresses_);
}

void Party::Announce(const testing::ServerProcess* server) {
  addresses_.Set(server == nullptr ? "" : server->grpc_address());
}

absl::Status Party::Finish() {
  somebody_->Stop();
  for (const auto& producer : producers_) {
    if (producer->Finish()) continue;
    return absl::InternalError(absl::StrCat(producer->options().plan.producer,
                                            " could not finish: ",
                                            absl::StrJoin(producer->violations(), "; ")));
  }
  return absl::OkStatus();
}

std::vector<std::string> Party::Violations() const {
  std::vector<std::string> all;
  for (const auto& producer : producers_) {
    for (const std::string& violation : producer->violations()) all.push_back(violation);
  }
  return all;
}

std::vector<Testimony> Party::Testimonies(const std::string& model) const {
  std::vector<Testimony> out;
  for (const auto& producer : producers_) {
    if (producer->options().model != model) continue;
    out.push_back({producer->options().plan, Ledger::Read(producer->options().ledger_file)});
  }
  return out;
}

}  // namespace engram::crash
