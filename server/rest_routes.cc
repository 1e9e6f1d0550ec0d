#include "server/rest_routes.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/errors.h"

namespace engram::server {
namespace {

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

}  // namespace

absl::StatusOr<RestMatch> MatchRoute(absl::string_view verb, absl::string_view path) {
  const Segments segments = absl::StrSplit(path, '/');
  std::vector<absl::string_view> verbs;
  for (const RestRoute& route : kRestRoutes) {
    const Segments pattern = absl::StrSplit(route.pattern, '/');
    if (!Fits(pattern, segments)) continue;
    if (route.verb == verb) return Matched(route, pattern, segments);
    verbs.push_back(route.verb);
  }
  if (verbs.empty()) return NotFound("path", Echo(path), "");
  return absl::UnimplementedError(absl::StrCat("verb: ", Echo(path), " takes ",
                                               absl::StrJoin(verbs, ", "), ", not ", Echo(verb)));
}

}  // namespace engram::server
