#include "client/manual.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace engram::client {
namespace {

// Text as troff prints it: hyphens that can be copied, no line that it takes for a request.
std::string Plain(absl::string_view text) {
  std::string plain = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}, {"`", "\\(ga"}});
  plain = absl::StrReplaceAll(plain, {{"\n.", "\n\\&."}, {"\n'", "\n\\&'"}});
  const bool request = absl::StartsWith(plain, ".") || absl::StartsWith(plain, "'");
  return request ? absl::StrCat("\\&", plain) : plain;
}

std::string Heading(absl::string_view page, int section) {
  return absl::StrCat(".\\\" Made from the help texts.\n.TH ", page, " ", section,
                      " \"\" \"engram " ENGRAM_VERSION "\" \"Engram\"\n");
}

std::string FlagEntry(const FlagShape& flag) {
  std::string text = absl::StrCat(".TP\n\\fB\\-\\-", Plain(flag.name), "\\fR");
  if (!flag.placeholder.empty()) {
    absl::StrAppend(&text, " \\fI", Plain(flag.placeholder), "\\fR");
  }
  absl::StrAppend(&text, "\n", Plain(flag.help));
  if (!flag.default_text.empty()) {
    absl::StrAppend(&text, " (default ", Plain(flag.default_text), ")");
  }
  return absl::StrCat(text, flag.many ? "; may be given again\n" : "\n");
}

std::string VerbSection(const VerbShape& verb) {
  std::string text = absl::StrCat(".SS \"", Plain(verb.name), "\"\n\\fB", Plain(verb.synopsis),
                                  "\\fR\n.PP\n", Plain(verb.about), "\n");
  for (const ArgumentShape& argument : verb.arguments) {
    absl::StrAppend(&text, ".TP\n\\fI", Plain(argument.name), "\\fR\n", Plain(argument.help), "\n");
  }
  for (const FlagShape& flag : verb.flags) absl::StrAppend(&text, FlagEntry(flag));
  return text;
}

constexpr char kCommandEnd[] = R"(.SH "EXIT STATUS"
0 on success, 1 after a failed call or rejected rows, 2 after wrong usage.
.SH ENVIRONMENT
.TP
\fBENGRAM_SERVER\fR
HOST:PORT of the server where \-\-server is not given
.TP
\fBNO_COLOR\fR
when it is set to anything, no colour on a terminal
.SH EXAMPLES
.nf
engram model create digits \-\-features 784 \-\-strategy experience_replay:memory_size=1000
engram learn digits \-\-csv train.csv
engram boundary digits evening \-\-wait
engram report digits
engram watch digits
.fi
.SH "SEE ALSO"
\fBengramd\fR(8)
)";

constexpr char kServerEnd[] = R"(.SH SIGNALS
SIGTERM and SIGINT: no new calls, what was accepted is finished, a last checkpoint, exit 0.
SIGHUP: read the configuration and the tokens again.
.SH FILES
.TP
\fIDATA_DIR\fR/endpoints.json
the ports in use, as JSON
.SH "EXIT STATUS"
0 after a drain; otherwise one of
.BR sysexits.h :
65 damaged data, 69 port in use, 70 deaf or not drained, 71 limits of the process, 73 folder taken,
74 disk, 78 configuration.
One line on stderr says what, and what to do.
.SH "SEE ALSO"
\fBengram\fR(1)
)";

// "--name (what it is); default: "value";" on one or more lines.
absl::StatusOr<FlagShape> ServerFlag(absl::string_view text) {
  std::string words =
      absl::StrJoin(absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty()), " ");
  const size_t open = words.find(" (");
  const size_t close = words.rfind("); default: \"");
  if (open == std::string::npos || close == std::string::npos || open > close) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected \"name (help); default: \"value\";\", got \"", words, "\""));
  }
  FlagShape flag;
  flag.name = words.substr(0, open);
  flag.placeholder = "VALUE";
  flag.help = words.substr(open + 2, close - open - 2);
  absl::string_view value = absl::string_view(words).substr(close + 13);
  absl::ConsumeSuffix(&value, "\";");
  flag.default_text = std::string(value);
  return flag;
}

}  // namespace

std::string CommandManual(const std::vector<VerbShape>& verbs,
                          const std::vector<FlagShape>& globals) {
  std::string text = absl::StrCat(
      Heading("ENGRAM", 1),
      ".SH NAME\nengram \\- teach, ask and look after models that never stop learning\n"
      ".SH SYNOPSIS\n\\fBengram\\fR [\\fIGLOBAL FLAGS\\fR] \\fIVERB\\fR ...\n"
      ".SH DESCRIPTION\nThe command of the Engram server, \\fBengramd\\fR(8).\n"
      ".SH \"GLOBAL FLAGS\"\nBefore or after the verb.\n");
  for (const FlagShape& flag : globals) absl::StrAppend(&text, FlagEntry(flag));
  absl::StrAppend(&text, ".SH VERBS\n");
  for (const VerbShape& verb : verbs) absl::StrAppend(&text, VerbSection(verb));
  return absl::StrCat(text, kCommandEnd);
}

absl::StatusOr<std::string> ServerManual(absl::string_view help) {
  const std::vector<absl::string_view> parts = absl::StrSplit(help, "\n    --");
  if (parts.size() < 2 || !absl::StartsWith(help, "engramd: ")) {
    return absl::InvalidArgumentError("expected what \"engramd --help\" prints on standard input");
  }
  std::string text = absl::StrCat(
      Heading("ENGRAMD", 8),
      ".SH NAME\nengramd \\- server for models that never stop learning\n"
      ".SH SYNOPSIS\n\\fBengramd\\fR \\fB\\-\\-data_dir\\fR=\\fIDIR\\fR [\\fIFLAGS\\fR]\n"
      ".SH DESCRIPTION\nProducers stream labelled examples; each model learns them in order and "
      "serves predictions meanwhile. What was acknowledged is durable.\n.SH FLAGS\n");
  for (size_t i = 1; i < parts.size(); ++i) {
    const absl::string_view part = parts[i].substr(0, parts[i].find("\n\n"));
    const auto flag = ServerFlag(part);
    if (!flag.ok()) return flag.status();
    absl::StrAppend(&text, FlagEntry(*flag));
  }
  return absl::StrCat(text, kServerEnd);
}

}  // namespace engram::client
