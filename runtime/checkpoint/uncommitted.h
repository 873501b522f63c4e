// What an NFS server has been sent of a file and has not promised to keep.
//
// A server takes data into memory (WRITE, UNSTABLE) and makes it durable later (COMMIT).  Both
// replies carry its write verifier, which changes when it restarts, and so forgets.  A piece is
// therefore kept until a COMMIT that was sent after the piece's reply brings the same verifier;
// with any other it is sent again.  What is kept is bounded: `kept` bytes, and a COMMIT is due
// whenever `commit_every` bytes wait for one.  Pure; one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <vector>

namespace muster::checkpoint {

using WriteVerifier = std::array<char, 8>;

class Uncommitted {
 public:
  struct Limits {
    std::size_t piece = 1U << 20U;  // One WRITE.
    std::size_t kept = 96U << 20U;
    std::size_t commit_every = 32U << 20U;
  };
  struct Piece {
    std::uint64_t id = 0;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };

  explicit Uncommitted(Limits limits) : limits_(limits) {}

  // Takes bytes from the front, at most a piece; how many.  0: there is no room before a COMMIT.
  std::size_t Add(std::uint64_t offset, std::span<const std::byte> bytes);

  // What is to be sent now, or null; it counts as on its way until one of the next two is called.
  // The pointer holds until then.
  const Piece* NextToSend();
  // The server has the first `count` bytes (the rest is to be sent), durably or with `verifier`.
  void Written(std::uint64_t id, std::size_t count, bool durable, const WriteVerifier& verifier);
  void Lost(std::uint64_t id);  // Whether the server has any of it is unknown.

  // Whether a COMMIT should leave.  `closing`: nothing more will be added.
  bool CommitDue(bool closing) const;
  void CommitSent();
  void Committed(const WriteVerifier& verifier);
  void CommitLost();

  bool empty() const { return pieces_.empty(); }
  // The lowest byte that is not durable: the place that an error names.  0 when empty.
  std::uint64_t first_offset() const;
  // Bytes that were sent again since a restart had lost them.
  std::uint64_t resent() const { return resent_; }
  // COMMITs in a row that freed nothing: with several servers behind one address, all of them.
  int futile_commits() const { return futile_; }

 private:
  enum class State { kToSend, kOnItsWay, kWritten, kCommitting };
  struct Kept {
    Piece piece;
    State state = State::kToSend;
    WriteVerifier verifier{};
  };
  void Forget(std::map<std::uint64_t, Kept>::iterator at);

  const Limits limits_;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, Kept> pieces_;
  std::deque<std::uint64_t> to_send_;
  std::size_t kept_ = 0;          // Bytes in pieces_.
  std::size_t written_ = 0;       // Bytes in state kWritten.
  std::size_t on_their_way_ = 0;  // Pieces.
  bool committing_ = false;
  std::uint64_t resent_ = 0;
  int futile_ = 0;
};

}  // namespace muster::checkpoint
