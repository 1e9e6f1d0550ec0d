#include "tests/tidy/include_rules.h"

#include <filesystem>
#include <regex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace engram::tidy {
namespace {

// What an include line names: a room of ours, a library, or the system.
struct Origin {
  const char* prefix;
  const char* name;
};
constexpr Origin kOrigins[] = {
    {"storage/base/", "storage/base"},
    {"storage/backup/", "storage/backup"},
    {"storage/", "storage"},
    {"strategies/api/", "strategies/api"},
    {"strategies/", "strategies"},
    {"server/", "server"},
    {"client/", "client"},
    {"tests/", "tests"},
    {"engram/", "proto"},
    {"google/rpc/", "proto"},
    {"inference/", "proto"},
    {"absl/", "Abseil"},
    {"google/protobuf/", "protobuf"},
    {"grpcpp/", "gRPC"},
    {"grpc/", "gRPC"},
    {"rocksdb/", "RocksDB"},
    {"torch/", "LibTorch"},
    {"ATen/", "LibTorch"},
    {"c10/", "LibTorch"},
    {"caffe2/", "LibTorch"},
    {"prometheus/", "prometheus-cpp"},
    {"civetweb.h", "CivetWeb"},
    {"CivetServer.h", "CivetWeb"},
    {"nlohmann/", "JSON"},
    {"spdlog/", "spdlog"},
    {"openssl/", "OpenSSL"},
    {"zlib.h", "zlib"},
    {"ncurses.h", "ncurses"},
    {"gtest/", "GoogleTest"},
    {"gmock/", "GoogleTest"},
    {"benchmark/", "Google Benchmark"},
};

// The table of the house, with its departures (README.md of this folder).
struct Room {
  const char* prefix;
  std::vector<std::string> may_include;
};
const std::vector<Room>& Rooms() {
  static const auto* rooms = new std::vector<Room>{
      {"storage/base/", {"storage/base", "Abseil"}},
      {"storage/",
       {"storage/base", "storage/backup", "storage", "Abseil", "zlib", "OpenSSL"}},
      {"strategies/api/", {"storage/base", "strategies/api", "Abseil"}},
      {"strategies/",
       {"storage/base", "strategies/api", "strategies", "Abseil", "LibTorch", "JSON"}},
      {"server/",
       {"proto", "storage/base", "storage/backup", "storage", "strategies/api", "server", "Abseil",
        "gRPC", "protobuf", "prometheus-cpp", "CivetWeb", "JSON", "spdlog", "OpenSSL", "zlib"}},
      {"client/",
       {"proto", "storage/base", "storage/backup", "client", "Abseil", "gRPC", "protobuf", "JSON",
        "OpenSSL", "zlib", "ncurses"}},
  };
  return *rooms;
}

bool IsSystem(const std::string& header) {
  static const std::regex system(
      "[a-z_0-9]+|(std|errno|fcntl|unistd|signal|poll|pthread|sched|dlfcn|link|dirent|termios|"
      "stdint|stdio|sysexits|[a-z]*intrin|stdlib|string|math|time|netdb|cpuid|cblas|spawn|"
      "limits|langinfo)\\.h|"
      "(sys|netinet|arpa|linux)/[a-z_/]+\\.h");
  return std::regex_match(header, system);
}

std::string OriginOf(const std::string& header) {
  for (const Origin& origin : kOrigins) {
    if (absl::StartsWith(header, origin.prefix)) return origin.name;
  }
  return IsSystem(header) ? "" : "unknown";
}

bool Allowed(const SourceFile& file, const std::string& origin) {
  if (origin.empty() || absl::StartsWith(file.path, "tests/")) return origin != "unknown";
  const std::string name = std::filesystem::path(file.path).filename().string();
  if (origin == "RocksDB") {
    return absl::StartsWith(file.path, "storage/") && absl::StartsWith(name, "rocksdb_");
  }
  for (const Room& room : Rooms()) {
    if (!absl::StartsWith(file.path, room.prefix)) continue;
    for (const std::string& allowed : room.may_include) {
      if (allowed == origin) return true;
    }
    return false;
  }
  return false;
}

}  // namespace

std::vector<std::string> ForbiddenIncludes(const SourceFile& file) {
  static const std::regex include("\\s*#\\s*include\\s*[<\"]([^>\"]+)[>\"].*");
  std::vector<std::string> findings;
  const std::vector<std::string> lines = Lines(file.text);
  for (size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_match(lines[i], match, include)) continue;
    const std::string origin = OriginOf(match[1]);
    if (Allowed(file, origin)) continue;
    findings.push_back(
        At(file, i + 1, absl::StrCat("may not include ", match[1].str(), " (", origin, ")")));
  }
  return findings;
}

}  // namespace engram::tidy
