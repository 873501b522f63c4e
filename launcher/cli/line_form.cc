#include "launcher/cli/line_form.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace muster {
namespace {

constexpr std::int64_t kDayUs = 86'400'000'000;

struct TimeOfDay {
  int hours, minutes, seconds, milliseconds;
};

TimeOfDay Split(std::int64_t wall_us) {
  const std::int64_t ms = ((wall_us % kDayUs + kDayUs) % kDayUs) / 1000;
  return {static_cast<int>(ms / 3'600'000), static_cast<int>(ms / 60'000 % 60),
          static_cast<int>(ms / 1000 % 60), static_cast<int>(ms % 1000)};
}

// As RFC 3339 has it, in UTC.
std::string Timestamp(std::int64_t wall_us) {
  const std::chrono::sys_days day{std::chrono::days((wall_us - (wall_us % kDayUs)) / kDayUs)};
  const std::chrono::year_month_day date(day);
  const TimeOfDay time = Split(wall_us);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ",
                static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), time.hours, time.minutes, time.seconds,
                static_cast<int>(wall_us % 1'000'000));
  return text.data();
}

std::string Base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k > bytes.size() ? '=' : kDigits[group >> (18 - 6 * k) & 63U];
    }
  }
  return text;
}

// How many bytes the character there has; 0: it is none.
std::size_t CharacterAt(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return 1;
  const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || at + size > text.size()) return 0;
  const auto second = static_cast<unsigned char>(text[at + 1]);
  const unsigned least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (std::size_t k = 2; k < size; ++k) {
    if ((static_cast<unsigned char>(text[at + k]) & 0xc0U) != 0x80) return 0;
  }
  return size;
}

bool IsUtf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = CharacterAt(text, at);
    if (size == 0) return false;
    at += size;
  }
  return true;
}

}  // namespace

std::string FullPrefix(const LineOrigin& origin, std::int64_t utc_offset_s) {
  std::array<char, 32> text{};
  if (origin.wall_us == 0) {
    std::snprintf(text.data(), text.size(), "--:--:--.---");
  } else {
    const TimeOfDay time = Split(origin.wall_us + utc_offset_s * 1'000'000);
    std::snprintf(text.data(), text.size(), "%02d:%02d:%02d.%03d", time.hours, time.minutes,
                  time.seconds, time.milliseconds);
  }
  return std::string(text.data()) + " " + origin.node + " " + std::to_string(origin.rank) + "| ";
}

std::string LineJson(const LineOrigin& origin, std::string_view text) {
  nlohmann::ordered_json json;
  json["time"] = origin.wall_us == 0 ? nlohmann::ordered_json(nullptr)
                                     : nlohmann::ordered_json(Timestamp(origin.wall_us));
  json["node"] = origin.node;
  json["rank"] = origin.rank;
  json["attempt"] = origin.attempt;
  json["stream"] = origin.is_stderr ? "stderr" : "stdout";
  if (IsUtf8(text)) {
    json["text"] = text;
  } else {
    json["base64"] = Base64(text);
  }
  return json.dump() + "\n";
}

std::string WithCommas(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

}  // namespace muster
