// One process's view of a store that others use, too, and what befalls it.
//
// The faulty store below has what is there and what is durable; a Weather says what happens when.
// On a share names are durable when the server has answered, and bytes are sent and committed as
// nfs:// does it, with the verifier checked; on one machine both wait for their fsync.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/fakes/faulty_store.h"
#include "tests/soak/crashes/turns.h"

namespace muster::checkpoint {

struct Event {
  enum class What {
    kProcess,  // This process dies.
    kNode,     // ...and what it had not synced is gone, or torn.
    kInLink,   // ...while its request is under way: a link or unlink takes effect later.
    kPower,    // All die.  On a share: the server restarts, and everyone lives.
    kFault,    // The call fails.
    kLasting   // All calls do, for some time.
  };
  std::uint64_t call = 0;
  What what = What::kFault;
  Death death = Death::kBefore;
  Fault fault = Fault::kIo;
  std::uint64_t until = 0;
};
const char* Name(Event::What what);
const char* Name(Fault fault);

// What was reached, in all histories.
struct Tally {
  std::map<std::string, std::uint64_t> counts;
  // Call by call of claim, write, commit, gc and load: how often it was made, and died in.
  struct Point {
    std::uint64_t made = 0, died = 0;
  };
  std::map<std::pair<std::string, std::uint32_t>, Point> points;
};

// A store, its clients and its faults, in one history.
class Weather {
 public:
  Weather(std::uint64_t seed, bool share, std::vector<Event> events, Turns& turns, Tally& tally,
          bool trace);

  // What happens at this call, the next of all.
  const Event* Draw();
  void PowerLost();
  // A request that is under way: takes effect some calls later.
  void Postpone(const std::string& path, std::function<Status()> act);
  void Trace(const std::string& line) const;
  // No events any more.
  void Calm();

  FaultyStore store;
  const bool share;
  Turns& turns;
  Tally& tally;
  std::mt19937_64 random;
  std::uint64_t epoch = 0;  // Counts the losses of power that ended all processes.
  std::uint64_t lives = 0;  // Of the server.

 private:
  void RunLate(bool all);

  std::multimap<std::uint64_t, std::function<void()>> late_;
  std::vector<Event> events_;
  std::uint64_t calls_ = 0;
  const bool trace_;
};

class Client final : public Store {
 public:
  // `part`: claim, write, commit, gc or load.
  Client(Weather& weather, std::string part);

  bool died() const { return dead_ || epoch_ != weather_.epoch; }
  bool struck() const { return struck_; }  // By anything.
  void set_part(const std::string& part);

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
  friend class ClientFile;
  friend class ShareFile;
  // `act` is one call of the store below.
  Status Call(const char* kind, const std::string& path, const std::function<Status()>& act);
  Status Die(const Event& event, const char* kind, const std::string& path,
             const std::function<Status()>& act);
  // On a share the name is durable by now.
  Status Named(const std::string& path, Status done);

  Weather& weather_;
  std::string part_;
  const std::uint64_t epoch_;
  const int id_;
  std::uint32_t nth_ = 0;
  bool dead_ = false;
  bool struck_ = false;
  std::set<std::string> open_;
};

}  // namespace muster::checkpoint
