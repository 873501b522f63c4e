// A store in memory that keeps only what was synced, and fails where it is told to.
//
// Every call on it and on its files counts.  A process dies at the n-th one (from then on nothing
// has an effect), the machine then comes back with what POSIX promises: bytes of files that were
// synced and closed, names of folders that were synced; anything else may be there, or not, or in
// part: cut off, or with holes where a later block reached the disk and an earlier one did not.
//
// Single faults: a store that is full (at the call, or, as NFS clients tell it, at the fsync after
// it), over quota, or read-only; an I/O error (at fsync: the bytes are gone); a stale handle;
// a reply that is lost although the call took effect, or (of a link, an unlink) takes it only
// later, when others have followed.  One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

enum class Fault { kFull, kFullAtSync, kQuota, kReadOnly, kIo, kStale, kLostReply, kLate };
inline constexpr Fault kFaults[] = {Fault::kFull,      Fault::kFullAtSync, Fault::kQuota,
                                    Fault::kReadOnly,  Fault::kIo,         Fault::kStale,
                                    Fault::kLostReply, Fault::kLate};
enum class Death { kBefore, kHalf, kAfter };       // Of the call: kHalf writes half the bytes.
enum class Loss { kNothing, kUnsynced, kRandom };  // What the machine forgets.  kNothing: kill -9.

// NOLINTNEXTLINE(cppcoreguidelines-special-member-functions): copied as it stands, never moved.
class FaultyStore final : public Store {
 public:
  FaultyStore();
  // What is there, and nothing of what is planned.
  FaultyStore(const FaultyStore& other);
  FaultyStore& operator=(const FaultyStore&) = delete;
  ~FaultyStore() override = default;

  // ---- what goes wrong ----
  // Calls are counted from the last of these four on, from 0.
  void DieAt(std::size_t call, Death death);
  void FailAt(std::size_t call, Fault fault);
  void FailFrom(std::size_t call, Fault fault);
  // Just before the call takes effect, somebody else acts on this store; those calls do not count.
  void ActAt(std::size_t call, std::function<void()> act);
  // Whatever was planned is forgotten; the calls count on.
  void Heal();
  // The process is dead or alive, the machine comes back; nothing is planned any more.
  void Restart(Loss loss, std::uint64_t seed);

  // ---- what is there ----
  std::size_t calls() const { return kinds_.size(); }
  const std::vector<std::string>& kinds() const { return kinds_; }  // Of the calls counted.
  bool died() const { return dead_; }
  // How often each kind of call ran into what was planned, such as {"link", 3}.
  const std::map<std::string, std::size_t>& struck() const { return struck_; }
  std::uint64_t bytes_read() const { return bytes_read_; }
  std::vector<std::string> Files() const;  // Paths, sorted.
  std::string& Bytes(const std::string& path);

  // ---- Store ----
  Status MakeFolder(const std::string& path) override;
  Status SyncFolder(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& path) override;
  Result<std::unique_ptr<StoreFile>> Create(const std::string& path) override;
  Status Link(const std::string& from, const std::string& to) override;
  Result<std::size_t> Read(const std::string& path, std::uint64_t offset,
                           std::span<std::byte> into) override;
  Result<std::uint64_t> Size(const std::string& path) override;
  Status Unlink(const std::string& path) override;
  Status RemoveFolder(const std::string& path) override;

 private:
  friend class FaultyFile;
  struct Node {
    bool folder = false;
    std::string bytes, synced;
    bool doomed = false;  // Its fsync will say that there was no room.
    std::map<std::string, std::shared_ptr<Node>> names, durable;
  };
  using NodePtr = std::shared_ptr<Node>;
  struct Plan {
    std::size_t call = 0;
    bool lasting = false;
    std::optional<Fault> fault;
    std::optional<Death> death;
    std::function<void()> act;
  };
  struct Place {
    NodePtr folder;
    std::string name;
  };

  // Runs `effect` unless the plan says otherwise; `half` is what a death in the middle leaves.
  Status Call(const char* kind, const std::function<Status()>& effect,
              const std::function<void()>& half = nullptr);
  Status Strike(const char* kind, const std::function<Status()>& effect);
  void Set(Plan plan);
  NodePtr Find(const std::string& path) const;
  Result<NodePtr> FindFolder(const std::string& path) const;
  Result<NodePtr> FindFile(const std::string& path) const;
  Result<Place> FindPlace(const std::string& path) const;
  static NodePtr Clone(const NodePtr& node, std::map<const Node*, NodePtr>& known);
  static void Tear(Node& node, std::mt19937_64& random);
  static void Forget(Node& node, Loss loss, std::mt19937_64& random);
  static void Collect(const Node& node, const std::string& path, std::vector<std::string>& into);

  NodePtr root_ = std::make_shared<Node>();
  std::vector<std::string> kinds_;
  std::uint64_t bytes_read_ = 0;
  bool dead_ = false;
  bool others_turn_ = false;
  bool swallowed_ = false;  // The last write was taken and not kept.
  std::optional<Plan> plan_;
  std::map<std::string, std::size_t> struck_;
  std::function<Status()> late_;  // What a call that was told to have failed will still do.
  std::size_t late_at_ = 0;
};

}  // namespace muster::checkpoint
