// The text of --config, of a token file, and of an address.
#include <string>

#include "server/config.h"
#include "server/spec_options.h"
#include "server/token_table.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

bool Refused(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInvalidArgument ||
         status.code() == absl::StatusCode::kNotFound;
}

// A configuration that passes is complete: completing it again changes nothing.
void Config(absl::string_view text) {
  const auto parsed = server::ParseConfig(text);
  ENGRAM_CHECK(parsed.ok() || Refused(parsed.status()));
  if (!parsed.ok()) return;
  const auto completed = server::CompleteConfig(*parsed);
  ENGRAM_CHECK(completed.ok() || Refused(completed.status()));
  if (!completed.ok()) return;
  const auto again = server::CompleteConfig(*completed);
  ENGRAM_CHECK(again.ok() && again->SerializeAsString() == completed->SerializeAsString());
  for (const auto& model : completed->models()) (void)server::CompleteSpec(model.spec());
}

void Tokens(absl::string_view text) {
  const auto table = server::TokenTable::Parse(text);
  ENGRAM_CHECK(table.ok() || Refused(table.status()));
  if (table.ok()) ENGRAM_CHECK(table->Find(text) == nullptr);
}

void Address(absl::string_view text) {
  const auto address = server::ParseListenAddress("--listen", text);
  ENGRAM_CHECK(address.ok() || Refused(address.status()));
  if (address.ok()) ENGRAM_CHECK(address->port >= 0 && address->port <= 65535);
}

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  absl::string_view input = engram::fuzz::ToText(bytes, size);
  switch (engram::fuzz::TakeChoice(&input, 4)) {
    case 0:
      engram::fuzz::Tokens(input);
      break;
    case 1:
      engram::fuzz::Address(input);
      break;
    default:
      engram::fuzz::Config(input);
  }
  return 0;
}
