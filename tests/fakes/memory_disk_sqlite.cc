#include "tests/fakes/memory_disk_sqlite.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/base/check.h"

namespace muster {
namespace {

// ---- one open file ------------------------------------------------------------------------------

struct OpenFile {
  sqlite3_file base;
  MemoryDisk* disk;
  MemoryDisk::File* file;
  std::string* remove_on_close;
};

OpenFile& Open(sqlite3_file* base) {
  return *reinterpret_cast<OpenFile*>(base);
}

int Close(sqlite3_file* base) {
  OpenFile& open = Open(base);
  if (open.remove_on_close != nullptr) {
    open.disk->Remove(*open.remove_on_close, true);
    delete open.remove_on_close;
  }
  return SQLITE_OK;
}

int Read(sqlite3_file* base, void* to, int size, sqlite3_int64 offset) {
  const std::string& now = Open(base).file->now;
  const auto from = std::min(static_cast<std::size_t>(offset), now.size());
  const std::size_t n = now.copy(static_cast<char*>(to), static_cast<std::size_t>(size), from);
  std::memset(static_cast<char*>(to) + n, 0, static_cast<std::size_t>(size) - n);
  return n == static_cast<std::size_t>(size) ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int Write(sqlite3_file* base, const void* from, int size, sqlite3_int64 offset) {
  OpenFile& open = Open(base);
  MemoryDisk::Write write = {.offset = static_cast<std::uint64_t>(offset)};
  write.bytes.assign(static_cast<const char*>(from), static_cast<std::size_t>(size));
  bool happens = true;
  const bool grows = write.offset + write.bytes.size() > open.file->now.size();
  const int error = open.disk->Begin(grows, &happens);
  if (happens) open.disk->Change(open.file, std::move(write));
  return error == SQLITE_IOERR ? SQLITE_IOERR_WRITE : error;
}

int Truncate(sqlite3_file* base, sqlite3_int64 size) {
  OpenFile& open = Open(base);
  bool happens = true;
  const int error = open.disk->Begin(false, &happens);
  if (happens) {
    open.disk->Change(open.file, {.offset = static_cast<std::uint64_t>(size), .truncates = true});
  }
  return error == SQLITE_IOERR ? SQLITE_IOERR_TRUNCATE : error;
}

int Sync(sqlite3_file* base, int) {
  OpenFile& open = Open(base);
  bool happens = true;
  const int error = open.disk->Begin(false, &happens);
  if (error == SQLITE_OK) open.disk->Sync(open.file);
  return error == SQLITE_IOERR ? SQLITE_IOERR_FSYNC : error;
}

int FileSize(sqlite3_file* base, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(Open(base).file->now.size());
  return SQLITE_OK;
}

int Nothing(sqlite3_file*, int) {
  return SQLITE_OK;
}
int CheckReservedLock(sqlite3_file*, int* is_reserved) {
  *is_reserved = 0;
  return SQLITE_OK;
}
int FileControl(sqlite3_file*, int, void*) {
  return SQLITE_NOTFOUND;
}
int SectorSize(sqlite3_file*) {
  return 4096;
}
int DeviceCharacteristics(sqlite3_file*) {
  return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

int ShmMap(sqlite3_file* base, int page, int size, int extend, void volatile** memory) {
  auto& shared = Open(base).file->shared;
  const auto index = static_cast<std::size_t>(page);
  while (extend != 0 && shared.size() <= index) {
    shared.push_back(std::make_unique<char[]>(static_cast<std::size_t>(size)));
  }
  *memory = index < shared.size() ? shared[index].get() : nullptr;
  return SQLITE_OK;
}
int ShmLock(sqlite3_file*, int, int, int) {
  return SQLITE_OK;
}
void ShmBarrier(sqlite3_file*) {}
int ShmUnmap(sqlite3_file* base, int) {
  Open(base).file->shared.clear();
  return SQLITE_OK;
}

const sqlite3_io_methods kMethods = {
    .iVersion = 2,
    .xClose = Close,
    .xRead = Read,
    .xWrite = Write,
    .xTruncate = Truncate,
    .xSync = Sync,
    .xFileSize = FileSize,
    .xLock = Nothing,
    .xUnlock = Nothing,
    .xCheckReservedLock = CheckReservedLock,
    .xFileControl = FileControl,
    .xSectorSize = SectorSize,
    .xDeviceCharacteristics = DeviceCharacteristics,
    .xShmMap = ShmMap,
    .xShmLock = ShmLock,
    .xShmBarrier = ShmBarrier,
    .xShmUnmap = ShmUnmap,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

// ---- the disk's names ---------------------------------------------------------------------------

MemoryDisk& Disk(sqlite3_vfs* vfs) {
  return *static_cast<MemoryDisk*>(vfs->pAppData);
}

int OpenName(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* base, int flags, int* out) {
  MemoryDisk& disk = Disk(vfs);
  OpenFile& open = Open(base);
  open = {};
  const std::string path = name != nullptr ? name : disk.TemporaryName();
  open.disk = &disk;
  open.file = disk.Find(path);
  if (open.file == nullptr) {
    if ((flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
    bool happens = true;
    const int error = disk.Begin(true, &happens);
    if (happens) open.file = disk.Make(path);
    if (error != SQLITE_OK) return error == SQLITE_IOERR ? SQLITE_CANTOPEN : error;
  }
  if ((flags & SQLITE_OPEN_DELETEONCLOSE) != 0) open.remove_on_close = new std::string(path);
  open.base.pMethods = &kMethods;
  if (out != nullptr) *out = flags;
  return SQLITE_OK;
}

int DeleteName(sqlite3_vfs* vfs, const char* name, int sync_folder) {
  MemoryDisk& disk = Disk(vfs);
  if (disk.Find(name) == nullptr) return SQLITE_IOERR_DELETE_NOENT;
  bool happens = true;
  const int error = disk.Begin(false, &happens);
  if (happens) disk.Remove(name, sync_folder != 0 && error == SQLITE_OK);
  return error == SQLITE_IOERR ? SQLITE_IOERR_DELETE : error;
}

int Access(sqlite3_vfs* vfs, const char* name, int, int* result) {
  *result = Disk(vfs).Find(name) != nullptr ? 1 : 0;
  return SQLITE_OK;
}

int FullPathname(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

}  // namespace

MemoryDisk::MemoryDisk() {
  static int disks = 0;
  name_ = "memory-disk-" + std::to_string(++disks);
  registered_ = std::make_unique<sqlite3_vfs>(*sqlite3_vfs_find(nullptr));  // Its clock and chance.
  registered_->pNext = nullptr;
  registered_->szOsFile = sizeof(OpenFile);
  registered_->zName = name_.c_str();
  registered_->pAppData = this;
  registered_->xOpen = OpenName;
  registered_->xDelete = DeleteName;
  registered_->xAccess = Access;
  registered_->xFullPathname = FullPathname;
  CHECK(sqlite3_vfs_register(registered_.get(), 0) == SQLITE_OK);
}

MemoryDisk::~MemoryDisk() {
  sqlite3_vfs_unregister(registered_.get());
}

void MemoryDisk::Plan(Fault fault, std::uint64_t n) {
  fault_ = fault;
  fault_at_ = calls_ + n;
}

void MemoryDisk::Heal() {
  fault_ = Fault::kNone;
}

int MemoryDisk::Begin(bool grows, bool* happens) {
  ++calls_;
  *happens = true;
  if (!reached()) return SQLITE_OK;
  switch (fault_) {
    case Fault::kNone:
      return SQLITE_OK;
    case Fault::kCrash:
      *happens = calls_ == fault_at_;
      return SQLITE_IOERR;
    case Fault::kFull:
      *happens = !grows;
      return grows ? SQLITE_FULL : SQLITE_OK;
    case Fault::kFails:
      *happens = calls_ != fault_at_;
      return *happens ? SQLITE_OK : SQLITE_IOERR;
  }
  return SQLITE_OK;
}

MemoryDisk::File* MemoryDisk::Find(const std::string& name) {
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : found->second.get();
}

MemoryDisk::File* MemoryDisk::Make(const std::string& name) {
  return (files_[name] = std::make_unique<File>()).get();
}

void MemoryDisk::Remove(const std::string& name, bool synced) {
  const auto found = files_.find(name);
  if (found == files_.end()) return;
  if (synced) {
    removed_.erase(name);
  } else if (found->second->known) {
    removed_[name] = std::move(found->second);
  }
  files_.erase(found);
}

void MemoryDisk::Change(File* file, Write write) {
  std::string& now = file->now;
  if (write.truncates) {
    now.resize(write.offset);
  } else {
    now.resize(std::max<std::size_t>(now.size(), write.offset + write.bytes.size()));
    now.replace(write.offset, write.bytes.size(), write.bytes);
  }
  file->unsynced.push_back(std::move(write));
}

// SQLite syncs the folder with a new journal's or log's first sync.
void MemoryDisk::Sync(File* file) {
  if (lies_) return;
  file->synced = file->now;
  file->unsynced.clear();
  file->known = true;
}

void MemoryDisk::SyncFolder() {
  for (auto& [name, file] : files_) file->known = true;
  removed_.clear();
}

std::string MemoryDisk::TemporaryName() {
  return "temporary-" + std::to_string(++temporaries_);
}

void MemoryDisk::LosePower(Left left, std::mt19937_64& chance) {
  fault_ = Fault::kNone;
  if (left == Left::kEverything) return;
  for (auto& [name, file] : removed_) {
    const bool comes_back = left == Left::kSynced || (chance() & 1U) != 0;
    const File* follower = Find(name);
    const bool replaced = follower != nullptr && follower->known;
    if (comes_back && file->known && !replaced) files_[name] = std::move(file);
  }
  removed_.clear();
  for (auto entry = files_.begin(); entry != files_.end();) {
    File& file = *entry->second;
    const bool survives = file.known || (left == Left::kSome && (chance() & 1U) != 0);
    if (!survives) {
      entry = files_.erase(entry);
      continue;
    }
    Forget(&file, left, chance);
    ++entry;
  }
}

// Each sector of each write is on the disk or is not, whatever the order of the writes.
void MemoryDisk::Forget(File* file, Left left, std::mt19937_64& chance) {
  const std::vector<Write> unsynced = std::move(file->unsynced);
  file->now = file->synced;
  file->unsynced.clear();
  file->shared.clear();
  for (const Write& write : unsynced) {
    if (left == Left::kSynced) break;
    if (write.truncates) {
      if ((chance() & 1U) != 0) Change(file, write);
      continue;
    }
    for (std::size_t at = 0; at < write.bytes.size(); at += kSector) {
      if ((chance() & 1U) == 0) continue;
      Change(file, {.offset = write.offset + at, .bytes = write.bytes.substr(at, kSector)});
    }
  }
  file->synced = file->now;
  file->unsynced.clear();
  file->known = true;
}

}  // namespace muster
