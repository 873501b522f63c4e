#include "runtime/checkpoint/store_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/base/file_posix.h"

namespace muster::checkpoint {
namespace {

// Linux transfers at most 2 GiB a call; less keeps a kill answered soon.
constexpr std::size_t kTransferMax = 16U << 20U;

// Past the page cache on disks of this machine: a third of the processor time there, and the cache
// stays with what training reads.  Not on NFS, whose client then waits for each call, nor where
// there is no disk behind.
bool IsLocalDisk(int fd) {
  struct statfs info {};
  if (fstatfs(fd, &info) != 0) return false;
  return info.f_type == EXT4_SUPER_MAGIC || info.f_type == XFS_SUPER_MAGIC;
}

class PosixFile final : public StoreFile {
 public:
  PosixFile(UniqueFd fd, std::string path)
      : fd_(std::move(fd)), path_(std::move(path)), may_be_direct_(IsLocalDisk(fd_.get())) {}

  Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const std::size_t most = std::min(bytes.size(), kTransferMax);
      BeDirect(may_be_direct_ && IsAligned(offset) && IsAligned(most) &&
               IsAligned(reinterpret_cast<std::uintptr_t>(bytes.data())));
      const ssize_t n = pwrite(fd_.get(), bytes.data(), most, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL && is_direct_ && may_be_direct_) {  // Larger sectors.
        may_be_direct_ = false;
        continue;
      }
      if (n < 0) return ErrnoStatus("write " + path_, errno);
      offset += static_cast<std::uint64_t>(n);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }

  Status SyncAndClose() override {
    if (fsync(fd_.get()) != 0) return ErrnoStatus("fsync " + path_, errno);
    if (close(fd_.Release()) != 0) return ErrnoStatus("close " + path_, errno);
    return {};
  }

 private:
  static bool IsAligned(std::uint64_t number) { return number % 4096 == 0; }
  void BeDirect(bool direct) {
    if (direct == is_direct_) return;
    if (fcntl(fd_.get(), F_SETFL, direct ? O_DIRECT : 0) == 0) {
      is_direct_ = direct;
    } else {
      may_be_direct_ = false;
    }
  }

  UniqueFd fd_;
  const std::string path_;
  bool may_be_direct_;
  bool is_direct_ = false;
};

class PosixStore final : public Store {
 public:
  explicit PosixStore(std::string root) : root_(std::move(root)) {}

  Status MakeFolder(const std::string& path) override {
    if (mkdir(Full(path).c_str(), 0777) == 0) return {};
    const int error = errno;
    struct stat info {};
    if (error == EEXIST && stat(Full(path).c_str(), &info) == 0) {
      if (S_ISDIR(info.st_mode)) return {};
      return ErrnoStatus("mkdir " + Full(path), ENOTDIR);
    }
    return ErrnoStatus("mkdir " + Full(path), error);
  }

  Status SyncFolder(const std::string& path) override {
    const UniqueFd fd(open(Full(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus("open " + Full(path), errno);
    // A file system without such a verb makes its names durable at once.
    if (fsync(fd.get()) == 0 || errno == EINVAL || errno == ENOTSUP) return {};
    return ErrnoStatus("fsync " + Full(path), errno);
  }

  Result<std::vector<std::string>> List(const std::string& path) override {
    DIR* folder = opendir(Full(path).c_str());
    if (folder == nullptr) return ErrnoStatus("open folder " + Full(path), errno);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(folder)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    const int error = errno;
    closedir(folder);
    if (error != 0) return ErrnoStatus("list " + Full(path), error);
    return names;
  }

  Result<std::unique_ptr<StoreFile>> Create(const std::string& path) override {
    UniqueFd fd(open(Full(path).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (!fd.valid()) return ErrnoStatus("create " + Full(path), errno);
    return std::unique_ptr<StoreFile>(std::make_unique<PosixFile>(std::move(fd), Full(path)));
  }

  Status Link(const std::string& from, const std::string& to) override {
    if (::link(Full(from).c_str(), Full(to).c_str()) == 0) return {};
    return ErrnoStatus("link " + Full(from) + " to " + Full(to), errno);
  }

  Result<std::size_t> Read(const std::string& path, std::uint64_t offset,
                           std::span<std::byte> into) override {
    const UniqueFd fd(open(Full(path).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus("open " + Full(path), errno);
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t n =
          pread(fd.get(), into.data() + done, std::min(into.size() - done, kTransferMax),
                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus("read " + Full(path), errno);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  Result<std::uint64_t> Size(const std::string& path) override {
    // Not stat(2): an open asks the server, a stat may be answered from a cache.
    const UniqueFd fd(open(Full(path).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus("open " + Full(path), errno);
    struct stat info {};
    if (fstat(fd.get(), &info) != 0) return ErrnoStatus("stat " + Full(path), errno);
    return static_cast<std::uint64_t>(info.st_size);
  }

  Status Unlink(const std::string& path) override {
    if (unlink(Full(path).c_str()) == 0) return {};
    return ErrnoStatus("unlink " + Full(path), errno);
  }

  Status RemoveFolder(const std::string& path) override {
    if (rmdir(Full(path).c_str()) == 0) return {};
    return ErrnoStatus("rmdir " + Full(path), errno);
  }

 private:
  std::string Full(const std::string& path) const {
    return path.empty() ? root_ : root_ + "/" + path;
  }

  const std::string root_;
};

}  // namespace

Result<std::unique_ptr<Store>> OpenStore(const std::string& path) {
  if (path.empty()) return Status(Code::kInvalid, "the store's path is empty");
  if (path.starts_with("nfs://")) {
    return Status(Code::kUnimplemented,
                  "store " + path + ": this build opens mounted paths only; mount the share and " +
                      "give the path it is mounted on");
  }
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) {
      return Status(Code::kNotFound,
                    "store " + path + " does not exist; is the share mounted? Mount it, or make " +
                        "the folder");
    }
    return ErrnoStatus("store " + path, errno);
  }
  if (!S_ISDIR(info.st_mode)) {
    return Status(Code::kInvalid, "store " + path + " is not a folder; give a folder");
  }
  return std::unique_ptr<Store>(std::make_unique<PosixStore>(path));
}

Result<std::uint64_t> FreshNonce() {
  std::uint64_t nonce = 0;
  ssize_t n = 0;
  do {
    n = getrandom(&nonce, sizeof nonce, 0);
  } while (n < 0 && errno == EINTR);
  if (n != sizeof nonce) return ErrnoStatus("getrandom", errno);
  return nonce;
}

}  // namespace muster::checkpoint
