// The journal's database: facts and snapshots in one SQLite file (D4).
//
//   fact      sequence, time, kind, job, bytes, crc   one row a fact, from 1, without gaps
//   snapshot  sequence, time, bytes, crc              the state after fact `sequence`
//
// Promises: what Commit() or TakeSnapshot() returned ok for survives a crash of the process, the
// kernel and the power.  A commit survives whole or not at all, and none survives without those
// before it.  After a failure every later call fails, so there is never a hole.
//
// The newest two snapshots are kept, and the facts since the older one: enough to go back one by
// hand.  `sqlite3 journal.sqlite` may read it at any time, also while a coordinator writes.
//
// One thread at a time.  Whether the file may be opened at all is journal_files_posix.h's business.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launcher/coordinator/journal.h"
#include "runtime/base/clock.h"
#include "runtime/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace muster {

// In the header of each of our files, and of no one else's: "mstr".
inline constexpr std::uint32_t kJournalApplicationId = 0x6d737472;

struct SqliteDeleter {
  void operator()(sqlite3* database) const;
  void operator()(sqlite3_stmt* statement) const;
};
using SqliteStatement = std::unique_ptr<sqlite3_stmt, SqliteDeleter>;

class JournalDatabase {
 public:
  static constexpr int kLogPagesMax = 1000;  // 4 MiB, as SQLite's own default.

  // `vfs`: as sqlite3_open_v2 takes it; nullptr is the system's.
  //
  // Create() makes a journal without facts where no file is, or an empty one.  It is not atomic:
  // make it under another name, then rename.
  static Status Create(const std::string& path, const char* vfs = nullptr);

  // kInvalid: of a newer format; kDataLoss: damaged; kDenied: no right to write.
  static Result<std::unique_ptr<JournalDatabase>> Open(const std::string& path,
                                                       const char* vfs = nullptr);

  // The newest snapshot and all facts after it, applied.
  Result<LoadedState> Load();

  // Every fact of every batch, in order, in one transaction.
  Status Commit(const std::vector<std::vector<Fact>>& batches, WallTime now);

  // `state` is the one after the last committed fact.
  Status TakeSnapshot(const State& state, WallTime now);

  // Moves what was committed from the write-ahead log into the database, once the log has so many
  // pages.  It is durable either way; this bounds the log.
  Status Checkpoint(int log_pages = kLogPagesMax);

 private:
  explicit JournalDatabase(std::unique_ptr<sqlite3, SqliteDeleter> database);

  Status Prepare();
  Status CheckVersion();
  Status CheckPages();
  Result<LoadedState> LoadSnapshot();
  Status LoadFacts(LoadedState* loaded);
  Status Insert(const Fact& fact, double seconds);
  Status InsertSnapshot(const State& state, double seconds);
  Status Run(const char* sql, const char* doing);
  Status Step(sqlite3_stmt* statement, const char* doing);
  Status Finish(Status status);

  // In this order: the statements go before the database.
  std::unique_ptr<sqlite3, SqliteDeleter> database_;
  SqliteStatement insert_fact_;
  SqliteStatement insert_snapshot_;

  int log_pages_ = 0;       // In the write-ahead log.
  std::uint64_t last_ = 0;  // Sequence of the newest committed fact.
  bool loaded_ = false;
  Status failure_;
};

}  // namespace muster
