#include "runtime/checkpoint/watched_store.h"

#include <utility>

namespace muster::checkpoint {
namespace {

class WatchedFile final : public StoreFile {
 public:
  WatchedFile(std::unique_ptr<StoreFile> file, std::string path, StoreWatch& watch)
      : file_(std::move(file)), path_(std::move(path)), watch_(watch) {}

  Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override {
    watch_.Begins("write", path_, offset);
    Status written = file_->WriteAt(offset, bytes);
    end_ = offset + bytes.size();
    watch_.Ended(bytes.size());
    return written;
  }
  Status SyncAndClose() override {
    watch_.Begins("fsync", path_, end_);
    Status synced = file_->SyncAndClose();
    watch_.Ended(0);
    return synced;
  }

 private:
  const std::unique_ptr<StoreFile> file_;
  const std::string path_;
  StoreWatch& watch_;
  std::uint64_t end_ = 0;
};

class WatchedStore final : public Store {
  template <typename Act>
  auto During(const char* verb, const std::string& path, const Act& act) {
    watch_.Begins(verb, path, 0);
    auto result = act();
    watch_.Ended(0);
    return result;
  }

 public:
  WatchedStore(std::unique_ptr<Store> store, StoreWatch& watch)
      : store_(std::move(store)), watch_(watch) {}

  Status MakeFolder(const std::string& path) override {
    return During("mkdir", path, [&] { return store_->MakeFolder(path); });
  }
  Status SyncFolder(const std::string& path) override {
    return During("fsync of the folder", path, [&] { return store_->SyncFolder(path); });
  }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return During("list", path, [&] { return store_->List(path); });
  }
  Result<std::unique_ptr<StoreFile>> Create(const std::string& path) override {
    auto file = During("create", path, [&] { return store_->Create(path); });
    if (!file.ok()) return file;
    return std::unique_ptr<StoreFile>(
        std::make_unique<WatchedFile>(*std::move(file), path, watch_));
  }
  Status Link(const std::string& from, const std::string& to) override {
    return During("link", to, [&] { return store_->Link(from, to); });
  }
  Result<std::size_t> Read(const std::string& path, std::uint64_t offset,
                           std::span<std::byte> into) override {
    watch_.Begins("read", path, offset);
    auto read = store_->Read(path, offset, into);
    watch_.Ended(read.ok() ? *read : 0);
    return read;
  }
  Result<std::uint64_t> Size(const std::string& path) override {
    return During("open", path, [&] { return store_->Size(path); });
  }
  Status Unlink(const std::string& path) override {
    return During("unlink", path, [&] { return store_->Unlink(path); });
  }
  Status RemoveFolder(const std::string& path) override {
    return During("rmdir", path, [&] { return store_->RemoveFolder(path); });
  }

 private:
  const std::unique_ptr<Store> store_;
  StoreWatch& watch_;
};

}  // namespace

std::unique_ptr<Store> Watched(std::unique_ptr<Store> store, StoreWatch& watch) {
  return std::make_unique<WatchedStore>(std::move(store), watch);
}

}  // namespace muster::checkpoint
