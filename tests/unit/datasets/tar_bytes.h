// Tar archives as tests want them, made byte by byte.
//
// Threading: pure functions. Failure: none; names up to 99 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace engram::datasets {

// One ustar header and its content, filled up to blocks.
inline std::string TarEntry(const std::string& name, const std::string& content, char type = '0') {
  std::string header(512, '\0');
  const auto put = [&header](size_t at, const std::string& text) {
    header.replace(at, text.size(), text);
  };
  char size[13];
  std::snprintf(size, sizeof(size), "%011o", static_cast<unsigned>(content.size()));
  put(0, name);
  put(100, "0000644");
  put(124, size);
  put(148, "        ");
  header[156] = type;
  put(257, std::string("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char checksum[9];
  std::snprintf(checksum, sizeof(checksum), "%06o", sum);
  put(148, std::string(checksum, 7));
  std::string blocks = header + content;
  blocks.resize((blocks.size() + 511) / 512 * 512, '\0');
  return blocks;
}

inline std::string TarEnd() { return std::string(1024, '\0'); }

inline std::string Tar(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string archive;
  for (const auto& file : files) archive += TarEntry(file.first, file.second);
  return archive + TarEnd();
}

}  // namespace engram::datasets
