// What checkpoints are kept on: a tree of files with the few verbs that the commit protocol needs.
//
// Paths are relative to the store's root, with '/' between names; "" is the root itself.  Names are
// never reused and files never rewritten, so no verb replaces anything.  An error says nothing
// about whether the verb took effect (a reply may be lost): whoever must know looks.
//
// kNotFound, kExists, kDenied (also a read-only store) and kExhausted (full) are told apart; any
// other failure is kUnavailable.  One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace muster::checkpoint {

// A new file, until it is closed.  Dropping it without SyncAndClose leaves rubbish, never a whole
// file.
class StoreFile {
 public:
  virtual ~StoreFile() = default;
  virtual Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) = 0;

  // ok: the bytes are durable, and visible to whoever opens the file from now on.  After an error
  // the file is lost for good: throw it away, never try again.
  virtual Status SyncAndClose() = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // ok also when the folder is there already.  Its parent must be there.
  virtual Status MakeFolder(const std::string& path) = 0;
  // Makes the names in a folder durable, those that went as well as those that came.
  virtual Status SyncFolder(const std::string& path) = 0;
  // The names in a folder, in no order.
  virtual Result<std::vector<std::string>> List(const std::string& path) = 0;

  // kExists if there is such a name.
  virtual Result<std::unique_ptr<StoreFile>> Create(const std::string& path) = 0;
  // Gives the file a second name, all or nothing, seen by all clients.  kExists if there is such
  // a name.
  virtual Status Link(const std::string& from, const std::string& to) = 0;
  // How many bytes were read: fewer than asked for only at the end of the file.
  virtual Result<std::size_t> Read(const std::string& path, std::uint64_t offset,
                                   std::span<std::byte> into) = 0;
  virtual Result<std::uint64_t> Size(const std::string& path) = 0;

  virtual Status Unlink(const std::string& path) = 0;
  // An empty folder.
  virtual Status RemoveFolder(const std::string& path) = 0;
};

// The whole of a small file.  kExhausted over `limit`.
Result<std::string> ReadWhole(Store& store, const std::string& path, std::uint64_t limit);

// Fine, too, if it is not there.
Status UnlinkIfThere(Store& store, const std::string& path);

// Creates, writes, syncs and closes a small file; unlinks what a failure left.
Status WriteWhole(Store& store, const std::string& path, std::string_view bytes);

}  // namespace muster::checkpoint
