#include "strategies/memory/sender_share.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>

namespace engram::strategies {
namespace {

constexpr double kRounding = 1e-6;  // 0.29 * 100 is a little less than 29

}  // namespace

int64_t SenderCap(double share, int64_t capacity) {
  const double part = std::floor(share * static_cast<double>(capacity) + kRounding);
  return std::max<int64_t>(1, std::min(capacity, static_cast<int64_t>(part)));
}

int64_t EqualPart(int64_t cap, int64_t groups, int64_t group) {
  return cap / groups + (group < cap % groups ? 1 : 0);
}

std::vector<int64_t> SpreadSenders(absl::Span<const uint64_t> senders, double share) {
  struct Queue {
    std::vector<int64_t> rows;  // best first
    size_t next = 0;
  };
  std::vector<Queue> queues;
  absl::flat_hash_map<uint64_t, size_t> queue_of_sender;
  for (size_t row = 0; row < senders.size(); ++row) {
    const auto [entry, is_new] = queue_of_sender.try_emplace(senders[row], queues.size());
    if (is_new) queues.emplace_back();
    queues[entry->second].rows.push_back(static_cast<int64_t>(row));
  }
  // By the number of rows taken from which on the sender may have one more, then by rank: once
  // that number is reached, by rank alone.
  using Turn = std::pair<int64_t, size_t>;
  std::priority_queue<Turn, std::vector<Turn>, std::greater<Turn>> ready, waiting;
  const auto queue_up = [&](size_t queue) {
    const Queue& own = queues[queue];
    if (own.next == own.rows.size()) return;
    if (own.next == 0) return ready.push({own.rows[0], queue});
    const double wanted = static_cast<double>(own.next + 1);
    waiting.push({static_cast<int64_t>(std::ceil((wanted - kRounding) / share)), queue});
  };
  for (size_t queue = 0; queue < queues.size(); ++queue) queue_up(queue);
  std::vector<int64_t> order;
  order.reserve(senders.size());
  while (order.size() < senders.size()) {
    const int64_t taken = static_cast<int64_t>(order.size()) + 1;
    while (!waiting.empty() && (ready.empty() || waiting.top().first <= taken)) {
      const size_t queue = waiting.top().second;
      waiting.pop();
      ready.push({queues[queue].rows[queues[queue].next], queue});
    }
    const size_t queue = ready.top().second;
    ready.pop();
    order.push_back(queues[queue].rows[queues[queue].next++]);
    queue_up(queue);
  }
  return order;
}

void SenderRanks::Add(uint64_t sender, size_t group, const Ranked& exemplar) {
  Sender& own = senders_[sender];
  ++own.count;
  own.groups[group].insert(exemplar);
}

void SenderRanks::Remove(uint64_t sender, size_t group, const Ranked& exemplar) {
  const auto own = senders_.find(sender);
  const auto part = own->second.groups.find(group);
  part->second.erase(exemplar);
  if (part->second.empty()) own->second.groups.erase(part);
  if (--own->second.count == 0) senders_.erase(own);
}

bool SenderRanks::AtCap(uint64_t sender) const {
  const auto own = senders_.find(sender);
  return own != senders_.end() && own->second.count >= cap_;
}

bool SenderRanks::FindPlace(uint64_t sender, size_t group, bool group_may_grow,
                            Place* place) const {
  const auto own = senders_.find(sender);
  if (own == senders_.end()) return false;
  const auto& groups = own->second.groups;
  const auto here = groups.find(group);
  auto from = here;
  place->must_outrank = true;
  if (group_may_grow) {
    const auto largest = std::max_element(groups.begin(), groups.end(), [](auto& a, auto& b) {
      return a.second.size() < b.second.size();
    });
    const size_t own_here = here == groups.end() ? 0 : here->second.size();
    if (largest->second.size() >= own_here + 2) {
      from = largest;
      place->must_outrank = false;
    } else if (own_here == 0) {
      from = std::min_element(groups.begin(), groups.end(), [](auto& a, auto& b) {
        return *a.second.begin() < *b.second.begin();
      });
    }
  }
  if (from == groups.end()) return false;
  place->group = from->first;
  place->exemplar = *from->second.begin();
  return true;
}

}  // namespace engram::strategies
