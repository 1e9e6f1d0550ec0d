#include "server/flag_check.h"

#include <string>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace engram::server {
namespace {

// Answered by Abseil itself, which exits.
bool AsksForHelp(absl::string_view name) {
  return absl::StartsWith(name, "help") || name == "version";
}

}  // namespace

absl::Status CheckFlags(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    absl::string_view text = argv[i];
    if (!absl::ConsumePrefix(&text, "--") && !absl::ConsumePrefix(&text, "-")) {
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument \"", argv[i], "\""));
    }
    const size_t equals = text.find('=');
    const absl::string_view name = text.substr(0, equals);
    if (AsksForHelp(name)) continue;
    absl::CommandLineFlag* const flag = absl::FindCommandLineFlag(name);
    if (flag == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag --", name));
    }
    if (equals == absl::string_view::npos && i + 1 == argc) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, ": expected a value"));
    }
    const std::string value(equals == absl::string_view::npos ? absl::string_view(argv[++i])
                                                              : text.substr(equals + 1));
    std::string error;
    if (!flag->ParseFrom(value, &error)) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, ": ", error));
    }
  }
  return absl::OkStatus();
}

}  // namespace engram::server
