#include "launcher/cli/shape.h"

#include <algorithm>
#include <functional>
#include <map>

#include "runtime/base/text.h"

namespace muster {
namespace {

// Slots by host, in the order of their first naming.
class Hosts {
 public:
  void Add(const std::string& name, std::uint32_t slots) {
    const auto [at, is_new] = index_.try_emplace(name, slots_.size());
    if (is_new) {
      slots_.push_back(slots);
    } else {
      slots_[at->second] += slots;
    }
  }
  std::vector<std::uint32_t> Slots() && { return std::move(slots_); }

 private:
  std::map<std::string, std::size_t> index_;
  std::vector<std::uint32_t> slots_;
};

// "h1" and "4" of "h1:4"; `unsaid` where there is no number, 0 for "h1:*".
Result<std::uint32_t> SlotsOf(const std::string& word, std::string* name, std::uint32_t unsaid) {
  const std::size_t colon = word.find(':');
  *name = word.substr(0, colon);
  if (name->empty()) return Status(Code::kInvalid, "a host without a name in '" + word + "'");
  if (colon == std::string::npos) return unsaid;
  const std::string slots = word.substr(colon + 1);
  if (slots == "*" || slots == "auto") return 0U;
  const auto number = ParseUnsigned(slots);
  if (!number || *number == 0 || *number > 100'000) {
    return Status(Code::kInvalid,
                  "'" + word + "': takes HOST or HOST:SLOTS, with slots from 1 to 100000");
  }
  return static_cast<std::uint32_t>(*number);
}

std::string Ranks(std::uint32_t ranks) {
  return std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks");
}
std::string Nodes(std::size_t nodes) {
  return std::to_string(nodes) + (nodes == 1 ? " node" : " nodes");
}

// Places `ranks` on as few of these nodes as possible, or as many.
Result<Shape> Even(std::uint32_t ranks, std::vector<std::uint32_t> slots, bool spread) {
  std::sort(slots.begin(), slots.end(), std::greater<>());
  std::vector<Shape> fitting;
  for (std::uint32_t nodes = 1; nodes <= slots.size() && nodes <= ranks; ++nodes) {
    if (ranks % nodes == 0 && ranks / nodes <= slots[nodes - 1]) {
      fitting.push_back({.nodes = nodes, .ranks_per_node = ranks / nodes});
    }
  }
  if (!fitting.empty()) return spread ? fitting.back() : fitting.front();
  std::vector<std::string> each;
  for (const std::uint32_t count : slots) each.push_back(std::to_string(count));
  return Status(Code::kInvalid, Ranks(ranks) + " do not fit with as many on each node: there are " +
                                    Nodes(slots.size()) + " with " + Join(each, ", ") + " slots");
}

Result<Shape> OnNamedHosts(const ShapeWish& wish) {
  const auto count = static_cast<std::uint32_t>(wish.hosts.size());
  const auto [least, most] = std::minmax_element(wish.hosts.begin(), wish.hosts.end());
  if (wish.ranks == 0) {
    if (*least == *most) return Shape{.nodes = count, .ranks_per_node = *least};
    return Status(Code::kInvalid, "the hosts have from " + std::to_string(*least) + " to " +
                                      std::to_string(*most) +
                                      " slots, and every node gets as many ranks: say -np, or "
                                      "--npernode");
  }
  const auto even = Even(wish.ranks, wish.hosts, wish.spread);
  if (even.ok() || wish.ranks % count != 0) return even;
  return Shape{.nodes = count, .ranks_per_node = wish.ranks / count};  // More ranks than slots.
}

Result<Shape> SoManyPerNode(const ShapeWish& wish) {
  if (wish.ranks == 0) {
    const auto named = static_cast<std::uint32_t>(wish.hosts.size());
    return Shape{.nodes = std::max(named, 1U), .ranks_per_node = wish.ranks_per_node};
  }
  const std::uint32_t each = std::min(wish.ranks, wish.ranks_per_node);
  if (wish.ranks % each != 0) {
    return Status(Code::kInvalid, Ranks(wish.ranks) + " at " + std::to_string(each) +
                                      " a node leave a node with fewer; every node gets as many: "
                                      "-np " +
                                      std::to_string(wish.ranks / each * each) + " or -np " +
                                      std::to_string((wish.ranks / each + 1) * each));
  }
  const Shape shape = {.nodes = wish.ranks / each, .ranks_per_node = each};
  if (wish.hosts_named && shape.nodes > wish.hosts.size()) {
    return Status(Code::kInvalid, Ranks(wish.ranks) + " at " + std::to_string(each) +
                                      " a node need " + Nodes(shape.nodes) + "; named are " +
                                      Nodes(wish.hosts.size()));
  }
  return shape;
}

}  // namespace

Result<std::vector<std::uint32_t>> ParseHostList(const std::string& text) {
  Hosts hosts;
  for (const std::string& word : Split(text, ',')) {
    std::string name;
    const auto slots = SlotsOf(word, &name, 1);
    if (!slots.ok()) return slots.status();
    hosts.Add(name, *slots);
  }
  return std::move(hosts).Slots();
}

Result<std::vector<std::uint32_t>> ParseHostfile(const std::string& text) {
  Hosts hosts;
  for (std::string line : Split(text, '\n')) {
    line = line.substr(0, line.find('#'));
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c == '\t' || c == '\r'; }, ' ');
    for (std::size_t at = line.find('='); at != std::string::npos; at = line.find('=', at + 1)) {
      while (at + 1 < line.size() && line[at + 1] == ' ') line.erase(at + 1, 1);
      while (at > 0 && line[at - 1] == ' ') line.erase(--at, 1);
    }
    std::vector<std::string> words = Split(line, ' ');
    std::erase(words, "");
    if (words.empty()) continue;
    std::string name;
    auto slots = SlotsOf(words[0], &name, 1);
    if (!slots.ok()) return slots.status();
    for (std::size_t i = 1; i < words.size(); ++i) {
      if (words[i].rfind("slots=", 0) != 0) continue;  // max_slots=N and the like.
      slots = SlotsOf(name + ":" + words[i].substr(6), &name, 1);
      if (!slots.ok()) return slots.status();
    }
    hosts.Add(name, *slots);
  }
  auto slots = std::move(hosts).Slots();
  if (slots.empty()) return Status(Code::kInvalid, "it names no host");
  return slots;
}

Result<Shape> ShapeOf(const ShapeWish& wish, const std::vector<ClusterNode>& nodes) {
  if (wish.ranks_per_node != 0) return SoManyPerNode(wish);
  if (wish.hosts_named) return OnNamedHosts(wish);
  if (wish.ranks == 0) return Shape{};
  if (nodes.empty()) return Shape{.nodes = 1, .ranks_per_node = wish.ranks};
  std::vector<std::uint32_t> slots;
  for (const ClusterNode& node : nodes) {
    if (!node.lost && node.drained.empty()) slots.push_back(node.slots);
  }
  return Even(wish.ranks, std::move(slots), wish.spread);
}

std::vector<std::uint32_t> RanksWith(const std::vector<std::uint32_t>& local_ranks,
                                     const Shape& shape) {
  std::vector<std::uint32_t> ranks;
  for (std::uint32_t node = 0; shape.ranks_per_node != 0 && node < shape.nodes; ++node) {
    for (const std::uint32_t local : local_ranks) {
      ranks.push_back(node * shape.ranks_per_node + local);
    }
  }
  return ranks;
}

}  // namespace muster
