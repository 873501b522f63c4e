#include "runtime/checkpoint/uncommitted.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace muster::checkpoint {

std::size_t Uncommitted::Add(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::size_t room = limits_.kept - std::min(kept_, limits_.kept);
  const std::size_t n = std::min({bytes.size(), limits_.piece, room});
  if (n == 0) return 0;
  const std::uint64_t id = next_id_++;
  const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(n);
  pieces_[id].piece = {.id = id, .offset = offset, .bytes = {bytes.begin(), end}};
  to_send_.push_back(id);
  kept_ += n;
  return n;
}

const Uncommitted::Piece* Uncommitted::NextToSend() {
  if (to_send_.empty()) return nullptr;
  Kept& kept = pieces_.at(to_send_.front());
  to_send_.pop_front();
  kept.state = State::kOnItsWay;
  ++on_their_way_;
  return &kept.piece;
}

void Uncommitted::Written(std::uint64_t id, std::size_t count, bool durable,
                          const WriteVerifier& verifier) {
  const auto at = pieces_.find(id);
  CHECK(at != pieces_.end() && at->second.state == State::kOnItsWay);
  --on_their_way_;
  Kept& kept = at->second;
  const std::size_t size = kept.piece.bytes.size();
  CHECK(count <= size);
  if (count < size) {
    // The part that it has becomes a piece of its own, so that each has one state.
    const auto cut = kept.piece.bytes.begin() + static_cast<std::ptrdiff_t>(count);
    const std::uint64_t rest = next_id_++;
    pieces_[rest].piece = {
        .id = rest, .offset = kept.piece.offset + count, .bytes = {cut, kept.piece.bytes.end()}};
    to_send_.push_front(rest);
    kept.piece.bytes.erase(cut, kept.piece.bytes.end());
  }
  if (durable || count == 0) return Forget(at);
  kept.state = State::kWritten;
  kept.verifier = verifier;
  written_ += count;
}

void Uncommitted::Lost(std::uint64_t id) {
  Kept& kept = pieces_.at(id);
  CHECK(kept.state == State::kOnItsWay);
  --on_their_way_;
  kept.state = State::kToSend;
  to_send_.push_front(id);
}

bool Uncommitted::CommitDue(bool closing) const {
  if (committing_ || written_ == 0) return false;
  if (written_ >= limits_.commit_every) return true;
  const bool idle = to_send_.empty() && on_their_way_ == 0;
  return idle && (closing || kept_ >= limits_.kept);
}

void Uncommitted::CommitSent() {
  CHECK(!committing_);
  committing_ = true;
  for (auto& [id, kept] : pieces_) {
    if (kept.state == State::kWritten) kept.state = State::kCommitting;
  }
  written_ = 0;
}

void Uncommitted::Committed(const WriteVerifier& verifier) {
  CHECK(committing_);
  committing_ = false;
  bool freed = false;
  for (auto at = pieces_.begin(); at != pieces_.end();) {
    const auto here = at++;
    Kept& kept = here->second;
    if (kept.state != State::kCommitting) continue;
    if (kept.verifier == verifier) {
      Forget(here);
      freed = true;
    } else {
      resent_ += kept.piece.bytes.size();
      kept.state = State::kToSend;
      to_send_.push_back(kept.piece.id);
    }
  }
  futile_ = freed ? 0 : futile_ + 1;
}

void Uncommitted::CommitLost() {
  CHECK(committing_);
  committing_ = false;
  for (auto& [id, kept] : pieces_) {
    if (kept.state != State::kCommitting) continue;
    kept.state = State::kWritten;
    written_ += kept.piece.bytes.size();
  }
}

std::uint64_t Uncommitted::first_offset() const {
  std::uint64_t first = 0;
  bool any = false;
  for (const auto& [id, kept] : pieces_) {
    first = any ? std::min(first, kept.piece.offset) : kept.piece.offset;
    any = true;
  }
  return first;
}

void Uncommitted::Forget(std::map<std::uint64_t, Kept>::iterator at) {
  kept_ -= at->second.piece.bytes.size();
  pieces_.erase(at);
}

}  // namespace muster::checkpoint
