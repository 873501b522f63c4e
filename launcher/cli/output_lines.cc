#include "launcher/cli/output_lines.h"

#include <utility>

#include "launcher/cli/line_form.h"

namespace muster {
namespace {

// Of the byte at `offset`; 0 when it is not known.
std::int64_t TimeOf(const LogPiece& piece, std::uint64_t offset) {
  std::int64_t wall_us = 0;
  for (const LogTime& time : piece.times) {
    if (time.offset > offset) break;
    wall_us = time.wall_us;
  }
  return wall_us;
}

}  // namespace

std::string OutputLines::Take(const LogPiece& piece) {
  const Key key = {piece.rank, piece.is_stderr};
  Begun& begun = begun_[key];
  std::string out;
  if (begun.attempt != piece.attempt && !begun.text.empty()) End(key, begun, "", &out);
  begun.attempt = piece.attempt;
  begun.node = piece.node;
  if (piece.skip) {
    begun.text.clear();  // The rest of it is left out: it counts as one of them.
    begun.skip = true;
    begun.skipped += piece.skipped_lines;
    return out;
  }
  if (begun.skip) TellSkipped(key, begun, &out);
  const bool terminal = format_.rank0_has_terminal && piece.rank == 0 && piece.attempt == 0;
  if (format_.prefix == Prefix::kNone || terminal) {
    out += piece.data;
  } else {
    Append(key, begun, piece, &out);
  }
  return out;
}

void OutputLines::Append(const Key& key, Begun& begun, const LogPiece& piece,
                         std::string* out) const {
  std::string_view bytes = piece.data;
  while (!bytes.empty()) {
    if (begun.text.empty()) {
      begun.wall_us = TimeOf(piece, piece.offset + (piece.data.size() - bytes.size()));
    }
    const std::size_t room = kLongestLine - begun.text.size();
    const std::size_t end = bytes.substr(0, room).find('\n');
    if (end == std::string_view::npos && bytes.size() < room) {
      begun.text += bytes;
      return;
    }
    const std::size_t size = end == std::string_view::npos ? room : end;
    End(key, begun, bytes.substr(0, size), out);
    bytes.remove_prefix(end == std::string_view::npos ? size : size + 1);
  }
}

void OutputLines::End(const Key& key, Begun& begun, std::string_view rest, std::string* out) const {
  const LineOrigin origin = {.attempt = begun.attempt,
                             .node = begun.node,
                             .rank = key.first,
                             .is_stderr = key.second,
                             .wall_us = begun.wall_us};
  switch (format_.prefix) {
    case Prefix::kJson:
      *out += LineJson(origin, begun.text.append(rest));
      break;
    case Prefix::kFull:
      *out += FullPrefix(origin, format_.utc_offset_s);
      break;
    default:
      *out += "[" + std::to_string(origin.rank) + "] ";
  }
  if (format_.prefix != Prefix::kJson) {
    *out += begun.text;
    *out += rest;
    *out += '\n';
  }
  begun.text.clear();
}

void OutputLines::TellSkipped(const Key& key, Begun& begun, std::string* out) const {
  const std::uint64_t lines = std::exchange(begun.skipped, 0);
  begun.skip = false;
  if (format_.prefix == Prefix::kJson) {
    *out += "{\"skipped_lines\":" + std::to_string(lines) +
            ",\"rank\":" + std::to_string(key.first) + "}\n";
    return;
  }
  const std::string rank = std::to_string(key.first);
  *out += "[muster] " + WithCommas(lines) + (lines == 1 ? " line" : " lines") + " of rank " + rank +
          " skipped here; `muster logs --rank " + rank + " " + std::to_string(format_.job) +
          "` has them\n";
}

std::string OutputLines::FlushAll(bool is_stderr) {
  std::string out;
  for (auto& [key, begun] : begun_) {
    if (key.second != is_stderr) continue;
    if (begun.skip) TellSkipped(key, begun, &out);
    if (!begun.text.empty()) End(key, begun, "", &out);
  }
  return out;
}

}  // namespace muster
