// A disk in memory for SQLite: it forgets what was not synced, and any call can be its last.
//
// Every call that changes the disk (creating, writing, truncating, syncing or deleting a file) has
// a number, from 1.  A test plans what the n-th one does, closes its database, takes the power
// away, and opens what is left.  One database at a time, one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

struct sqlite3_vfs;

namespace muster {

class MemoryDisk {
 public:
  enum class Fault {
    kNone,
    kCrash,  // This call may or may not have happened; it and all later ones report an error.
    kFull,   // From this call on, no file can grow.
    kFails,  // This call reports an error and does nothing.
  };
  enum class Left {
    kSynced,      // Only what was synced.
    kEverything,  // As after kill -9: the page cache is still there.
    kSome,        // Of what was not synced, some sectors of some writes, as chance has it.
  };

  MemoryDisk();
  ~MemoryDisk();
  MemoryDisk(const MemoryDisk&) = delete;
  MemoryDisk& operator=(const MemoryDisk&) = delete;
  MemoryDisk(MemoryDisk&&) = delete;
  MemoryDisk& operator=(MemoryDisk&&) = delete;

  const char* vfs() const { return name_.c_str(); }

  // `fault` happens at the n-th call from now.
  void Plan(Fault fault, std::uint64_t n);
  bool reached() const { return fault_ != Fault::kNone && calls_ >= fault_at_; }
  std::uint64_t calls() const { return calls_; }

  // As fsync of the folder: what was created and removed is so for good.
  void SyncFolder();

  // Acknowledges syncs and does nothing: what a test must notice.
  void IgnoreSyncs() { lies_ = true; }

  // The power goes, and comes back; the plan is over.  No file may be open.
  void LosePower(Left left, std::mt19937_64& chance);

  // There is room again; the plan is over.
  void Heal();

  // ---- what the VFS calls -----------------------------------------------------------------------

  static constexpr std::size_t kSector = 512;

  struct Write {
    std::uint64_t offset = 0;
    std::string bytes;  // Of a truncation: none.
    bool truncates = false;
  };
  struct File {
    std::string now, synced;
    std::vector<Write> unsynced;
    bool known = false;  // Its name survives.
    std::vector<std::unique_ptr<char[]>> shared;
  };

  // SQLite's code of what the next call is to report; 0: it may go on.
  int Begin(bool grows, bool* happens);
  File* Find(const std::string& name);
  File* Make(const std::string& name);
  void Remove(const std::string& name, bool synced);
  void Change(File* file, Write write);
  void Sync(File* file);
  std::string TemporaryName();

 private:
  void Forget(File* file, Left left, std::mt19937_64& chance);

  std::string name_;
  std::unique_ptr<sqlite3_vfs> registered_;
  std::map<std::string, std::unique_ptr<File>> files_;
  std::map<std::string, std::unique_ptr<File>> removed_;  // And not yet for good.
  std::uint64_t calls_ = 0;
  Fault fault_ = Fault::kNone;
  std::uint64_t fault_at_ = 0;
  bool lies_ = false;
  int temporaries_ = 0;
};

}  // namespace muster
