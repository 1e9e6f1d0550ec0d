#include "client/verb.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/status.h"

namespace engram::client {

int Fail(const VerbContext& context, const absl::Status& status) {
  *context.err << "engram: " << Describe(status) << "\n";
  return kExitFailed;
}

int WrongUsage(const VerbContext& context, const absl::Status& status, const FlagSet& flags) {
  *context.err << "engram: " << status.message() << "\n" << flags.Usage();
  return kExitUsage;
}

absl::optional<int> ParseOrExit(const VerbContext& context, const std::vector<std::string>& args,
                                FlagSet* flags) {
  if (std::find(args.begin(), args.end(), "--help") != args.end()) {
    *context.out << flags->Usage();
    return kExitOk;
  }
  const absl::Status parsed = flags->Parse(args);
  if (!parsed.ok()) return WrongUsage(context, parsed, *flags);
  return absl::nullopt;
}

}  // namespace engram::client
