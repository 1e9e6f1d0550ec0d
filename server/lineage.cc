#include "server/lineage.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace engram::server {
namespace {

constexpr uint64_t kHead = std::numeric_limits<uint64_t>::max();

// The last record that two lines share.
uint64_t CommonEnd(const std::vector<Stretch>& a, const std::vector<Stretch>& b) {
  uint64_t common = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()) && a[i].first == b[i].first; ++i) {
    common = std::min(a[i].last, b[i].last);
    if (a[i].last != b[i].last) break;
  }
  return common;
}

}  // namespace

std::vector<Stretch> LineTo(const Rewinds& rewinds, uint64_t end) {
  std::vector<Stretch> line;
  for (int i = rewinds.size() - 1; i >= 0; --i) {
    if (rewinds[i].record() > end) continue;  // happened on a branch that was left
    line.push_back({rewinds[i].record(), end});
    end = rewinds[i].restored();
  }
  line.push_back({0, end});
  std::reverse(line.begin(), line.end());
  return line;
}

uint64_t UndoneBy(const Rewinds& rewinds, uint64_t sequence) {
  uint64_t undone_by = 0;
  // stands[k]: whether the record is part of the line after the first k rollbacks.
  std::vector<bool> stands = {true};
  for (const auto& rewind : rewinds) {
    bool standing = true;  // a rollback before the record leaves it alone
    if (rewind.record() > sequence) {
      const auto before = std::upper_bound(
          rewinds.begin(), rewinds.end(), rewind.restored(),
          [](uint64_t end, const auto& other) { return end < other.record(); });
      standing = sequence <= rewind.restored() && stands[before - rewinds.begin()];
    }
    if (stands.back() && !standing) undone_by = rewind.record();
    if (standing) undone_by = 0;
    stands.push_back(standing);
  }
  return undone_by;
}

int64_t DroppedBy(const Rewinds& rewinds, int64_t train_examples_now, uint64_t sequence,
                  int64_t train_examples) {
  const uint64_t common = CommonEnd(LineTo(rewinds, kHead), LineTo(rewinds, sequence));
  if (common == sequence) return train_examples_now - train_examples;
  for (const auto& rewind : rewinds) {
    if (rewind.restored() == common) return train_examples_now - rewind.train_examples();
  }
  return train_examples_now;
}

}  // namespace engram::server
