#include "launcher/jobd/save_texts.h"

#include <cstdio>
#include <map>
#include <string_view>

namespace muster {
namespace {

// How many bytes of `text` are one character in UTF-8; 0: none.
std::size_t CharacterAt(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return 1;
  const std::size_t size = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return 0;
  }
  const bool overlong = (byte(0) == 0xE0 && byte(1) < 0xA0) || (byte(0) == 0xF0 && byte(1) < 0x90);
  const bool no_character =
      (byte(0) == 0xED && byte(1) > 0x9F) || (byte(0) == 0xF4 && byte(1) > 0x8F);
  return overlong || no_character ? 0 : size;
}

// A command line may hold any bytes; JSON takes UTF-8 only.
std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const std::size_t size = CharacterAt(text);
    const auto first = static_cast<unsigned char>(text[0]);
    if (size == 0) {
      quoted += "\\ufffd";
    } else if (first < 0x20 || first == 0x7F) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", first);
      quoted += escaped;
    } else {
      if (first == '"' || first == '\\') quoted += '\\';
      quoted += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return quoted + "\"";
}

}  // namespace

std::string TopologyText(const StartAttempt& order) {
  std::size_t ranks = 0;
  std::string hosts;
  for (const Host& host : order.hosts) {
    ranks += host.slots.size();
    hosts += (hosts.empty() ? "" : ",") + std::string("{\"node\":") + Quote(host.node) +
             ",\"ranks\":" + std::to_string(host.slots.size()) + "}";
  }
  return "{\"nodes\":" + std::to_string(order.hosts.size()) +
         ",\"ranks\":" + std::to_string(ranks) + ",\"attempt\":" + std::to_string(order.attempt) +
         ",\"hosts\":[" + hosts + "]}";
}

std::string MetadataText(const StartAttempt& order) {
  std::string words;
  for (const std::string& word : order.program.argv) {
    words += (words.empty() ? "" : ",") + Quote(word);
  }
  std::string text = "{\"job\":{\"id\":" + std::to_string(order.job) +
                     ",\"name\":" + Quote(order.name) + ",\"command\":[" + words + "]}";
  std::map<std::string, std::string> given;  // The last one of a name holds.
  for (const std::string& entry : order.checkpoint.metadata) {
    const std::size_t equals = entry.find('=');
    if (equals != std::string::npos) given[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  for (const auto& [name, value] : given) text += "," + Quote(name) + ":" + Quote(value);
  return text + "}";
}

std::string RanksText(const Host& host) {
  const std::string first = std::to_string(host.first_rank);
  const std::string on = " (node " + host.node + ")";
  if (host.slots.size() < 2) return "rank " + first + on;
  return "ranks " + first + " to " + std::to_string(host.first_rank + host.slots.size() - 1) + on;
}

}  // namespace muster
