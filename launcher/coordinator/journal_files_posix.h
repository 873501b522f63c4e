// The journal's files in the state directory: who holds them, and which may be opened at all.
//
//   journal.sqlite        the database, mode 0600; -wal and -shm beside it while it is in use
//   journal.sqlite.lock   locked by the coordinator that has it
//   journal.sqlite.new    one that is being made; renamed once it is whole
//
// Any thread.
#pragma once

#include <string>

#include "runtime/base/file_posix.h"
#include "runtime/base/result.h"

namespace muster {

// Holds the journal at `path` for this process until the descriptor is closed.  kUnavailable, with
// the other's pid, while another process holds it.  One process must not ask twice.
Result<UniqueFd> LockJournal(const std::string& path);

// Whether there is a journal at `path`.  kInvalid: the file is someone else's; kDataLoss: what is
// left of a journal.  Looks only; SQLite never gets to see a file that is not ours.
Result<bool> FindJournal(const std::string& path);

// An empty file for a journal that is to be made, with mode 0600.  Returns its name.
Result<std::string> PrepareNewJournal(const std::string& path);

// Gives what PrepareNewJournal() named its place, durably.
Status PublishNewJournal(const std::string& path);

}  // namespace muster
