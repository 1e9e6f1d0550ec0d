#include "server/rest_routes.h"

#include <algorithm>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/errors.h"
#include "storage/base/check.h"

namespace engram::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;

using Segments = std::vector<absl::string_view>;

bool IsField(absl::string_view segment) { return !segment.empty() && segment.front() == '{'; }

bool Fits(const Segments& pattern, const Segments& path) {
  if (pattern.size() != path.size()) return false;
  for (size_t i = 0; i < path.size(); ++i) {
    if (IsField(pattern[i]) ? path[i].empty() : pattern[i] != path[i]) return false;
  }
  return true;
}

RestMatch Matched(const RestRoute& route, const Segments& pattern, const Segments& path) {
  RestMatch match;
  match.route = &route;
  for (size_t i = 0; i < path.size(); ++i) {
    if (!IsField(pattern[i])) continue;
    match.fields.emplace_back(pattern[i].substr(1, pattern[i].size() - 2), path[i]);
  }
  return match;
}

std::unique_ptr<Message> Empty(const Descriptor& type) {
  return absl::WrapUnique(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

}  // namespace

absl::StatusOr<RestMatch> MatchRoute(absl::Span<const RestRoute> routes, absl::string_view verb,
                                     absl::string_view path) {
  const Segments segments = absl::StrSplit(path, '/');
  std::vector<absl::string_view> verbs;
  for (const RestRoute& route : routes) {
    const Segments pattern = absl::StrSplit(route.pattern, '/');
    if (!Fits(pattern, segments)) continue;
    if (route.verb == verb) return Matched(route, pattern, segments);
    if (std::find(verbs.begin(), verbs.end(), route.verb) == verbs.end()) {
      verbs.push_back(route.verb);
    }
  }
  if (verbs.empty()) return NotFound("path", Echo(path), "");
  return absl::UnimplementedError(absl::StrCat("verb: ", Echo(path), " takes ",
                                               absl::StrJoin(verbs, ", "), ", not ", Echo(verb)));
}

const google::protobuf::MethodDescriptor& MethodOf(Rpc rpc) {
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
      absl::StrReplaceAll(RowOf(rpc).name, {{"/", "."}}));
  ENGRAM_CHECK(method != nullptr);
  return *method;
}

std::unique_ptr<Message> NewRequest(Rpc rpc) { return Empty(*MethodOf(rpc).input_type()); }

std::unique_ptr<Message> NewReply(Rpc rpc) { return Empty(*MethodOf(rpc).output_type()); }

void SetFields(const RestMatch& match, Message* request) {
  for (const auto& [name, value] : match.fields) {
    const auto* field = request->GetDescriptor()->FindFieldByName(name);
    ENGRAM_CHECK(field != nullptr);
    request->GetReflection()->SetString(request, field, value);
  }
}

}  // namespace engram::server
