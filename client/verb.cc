#include "client/verb.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/advice.h"

namespace engram::client {

int Fail(const VerbContext& context, const absl::Status& status) {
  const Explanation explained = Explain(context.connection, status);
  *context.err << "engram: " << explained.what << "\n";
  if (!explained.fix.empty()) *context.err << "  try: " << explained.fix << "\n";
  return kExitFailed;
}

int WrongUsage(const VerbContext& context, const absl::Status& status, const FlagSet& flags) {
  *context.err << "engram: " << status.message() << "\nusage: " << flags.Synopsis()
               << "\n\"engram help " << flags.synopsis() << "\" explains the flags\n";
  return kExitUsage;
}

absl::optional<int> ParseOrExit(const VerbContext& context, const std::vector<std::string>& args,
                                FlagSet* flags) {
  if (context.on_flags) {
    context.on_flags(*flags);
    return kExitOk;
  }
  if (std::find(args.begin(), args.end(), "--help") != args.end()) {
    *context.out << flags->Usage();
    return kExitOk;
  }
  const absl::Status parsed = flags->Parse(args);
  if (!parsed.ok()) return WrongUsage(context, parsed, *flags);
  return absl::nullopt;
}

}  // namespace engram::client
