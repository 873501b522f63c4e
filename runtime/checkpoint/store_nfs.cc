#include "runtime/checkpoint/store_nfs.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "runtime/base/text.h"
#include "runtime/checkpoint/nfs_file_nfs.h"
#include "runtime/checkpoint/nfs_mount_nfs.h"
#include "runtime/checkpoint/nfs_read_nfs.h"
#include "runtime/checkpoint/store_posix.h"

namespace muster::checkpoint {
namespace {

constexpr std::uint32_t kTransferMax = 1U << 20U;  // libnfs's own limit.

// What a LOOKUP found.
struct Seen {
  nfsstat3 status = NFS3_OK;
  FileHandle handle;
  fattr3 attributes{};
  bool IsFolder() const { return attributes.type == NF3DIR; }
  bool IsSameAs(const Seen& other) const {
    return attributes.fileid == other.attributes.fileid && attributes.fsid == other.attributes.fsid;
  }
};

diropargs3 Named(const FileHandle& folder, const std::string& name) {
  return {.dir = ToNfs(folder), .name = const_cast<char*>(name.c_str())};
}

mode_t Umask() {
  const mode_t mask = umask(0);
  umask(mask);
  return mask;
}

class NfsStore final : public Store {
 public:
  NfsStore(const NfsUrl& url, const MountedFolder& root)
      : session_(std::make_shared<NfsSession>(url, root.address)),
        name_(ShortText(url)),
        root_(root.handle),
        umask_(Umask()) {}

  Status LearnLimits();

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
  // A name in a folder: `op` says what the server said.
  using InPlace =
      std::function<Result<nfsstat3>(const FileHandle& folder, const std::string& name)>;
  Status In(const std::string& path, const std::string& verb, const InPlace& op);
  Result<FileHandle> Folder(const std::string& path, bool* cached);
  Result<FileHandle> Walk(const std::string& path);
  Result<Seen> LookUp(const FileHandle& folder, const std::string& name);
  Result<Seen> Find(const std::string& path, const std::string& verb);

  Result<nfsstat3> CreateIn(const FileHandle& folder, const std::string& name, FileHandle* made);
  Result<nfsstat3> SetMode(const FileHandle& handle, mode_t mode);
  Result<nfsstat3> LinkIn(const Seen& file, const FileHandle& folder, const std::string& name);
  Result<nfsstat3> RemoveFrom(const FileHandle& folder, const std::string& name, bool is_folder);

  std::string Full(const std::string& path) const {
    return path.empty() ? name_ : name_ + "/" + path;
  }

  const std::shared_ptr<NfsSession> session_;
  const std::string name_;
  const FileHandle root_;
  const mode_t umask_;
  std::uint32_t read_max_ = kTransferMax;
  std::uint32_t write_max_ = kTransferMax;
  std::map<std::string, FileHandle> folders_;
  std::string last_read_;  // The path whose handle is the next.
  FileHandle last_handle_;
};

Status NfsStore::LearnLimits() {
  session_->Begin();
  FSINFO3args arguments{};
  arguments.fsroot = ToNfs(root_);
  bool can_link = true;
  const auto answered = session_->Ask(CallOf(rpc_nfs3_fsinfo_async, arguments), [&](void* data) {
    const auto& ok = static_cast<FSINFO3res*>(data)->FSINFO3res_u.resok;
    if (ok.rtmax > 0) read_max_ = std::min(ok.rtmax, kTransferMax);
    if (ok.wtmax > 0) write_max_ = std::min(ok.wtmax, kTransferMax);
    can_link = (ok.properties & FSF3_LINK) != 0;
  });
  if (!answered.ok()) return answered.status();
  if (*answered != NFS3_OK) return NfsStatus("FSINFO", *answered);
  if (can_link) return {};
  return Status(Code::kInvalid, "the share cannot make hard links, which publish a checkpoint");
}

Result<Seen> NfsStore::LookUp(const FileHandle& folder, const std::string& name) {
  LOOKUP3args arguments{};
  arguments.what = Named(folder, name);
  Seen seen;
  bool has_attributes = false;
  auto answered = session_->Ask(CallOf(rpc_nfs3_lookup_async, arguments), [&](void* data) {
    const auto& ok = static_cast<LOOKUP3res*>(data)->LOOKUP3res_u.resok;
    seen.handle = FromNfs(ok.object);
    has_attributes = ok.obj_attributes.attributes_follow != 0;
    seen.attributes = ok.obj_attributes.post_op_attr_u.attributes;
  });
  if (answered.ok() && *answered == NFS3_OK && !has_attributes) {
    GETATTR3args of{};
    of.object = ToNfs(seen.handle);
    answered = session_->Ask(CallOf(rpc_nfs3_getattr_async, of), [&](void* data) {
      seen.attributes = static_cast<GETATTR3res*>(data)->GETATTR3res_u.resok.obj_attributes;
    });
  }
  if (!answered.ok()) return std::move(answered).status();
  seen.status = *answered;
  return seen;
}

// From the root down, whatever was known.
Result<FileHandle> NfsStore::Walk(const std::string& path) {
  FileHandle at = root_;
  std::string so_far;
  if (path.empty()) return at;
  for (const std::string& name : Split(path, '/')) {
    auto seen = LookUp(at, name);
    if (!seen.ok()) return std::move(seen).status();
    so_far += (so_far.empty() ? "" : "/") + name;
    if (seen->status != NFS3_OK) return NfsStatus("open folder " + Full(so_far), seen->status);
    if (!seen->IsFolder()) return Status(Code::kUnavailable, Full(so_far) + " is no folder");
    at = std::move(seen->handle);
    folders_[so_far] = at;
  }
  return at;
}

Result<FileHandle> NfsStore::Folder(const std::string& path, bool* cached) {
  const auto known = folders_.find(path);
  *cached = known != folders_.end();
  if (*cached) return known->second;
  return Walk(path);
}

Status NfsStore::In(const std::string& path, const std::string& verb, const InPlace& op) {
  session_->Begin();
  const std::string doing = verb + " " + Full(path);
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  for (;;) {
    bool cached = false;
    auto handle = Folder(folder, &cached);
    if (!handle.ok()) return std::move(handle).status().While(doing);
    const auto said = op(*handle, name);
    if (!said.ok()) return Status(said.status()).While(doing);
    const bool gone = *said == NFS3ERR_STALE || *said == NFS3ERR_NOENT;
    if (!gone || !cached) return NfsStatus(doing, *said);
    folders_.clear();  // Perhaps it is the folder that is gone, or another one by now.
  }
}

Result<Seen> NfsStore::Find(const std::string& path, const std::string& verb) {
  Seen seen;
  Status found = In(path, verb, [&](const FileHandle& folder, const std::string& name) {
    auto looked = LookUp(folder, name);
    if (!looked.ok()) return Result<nfsstat3>(std::move(looked).status());
    seen = *std::move(looked);
    return Result<nfsstat3>(seen.status);
  });
  if (!found.ok()) return found;
  return seen;
}

Status NfsStore::MakeFolder(const std::string& path) {
  return In(path, "mkdir", [&](const FileHandle& folder, const std::string& name) {
    MKDIR3args arguments{};
    arguments.where = Named(folder, name);
    arguments.attributes.mode.set_it = 1;
    arguments.attributes.mode.set_mode3_u.mode = 0777U & ~umask_;
    // Whether this call made it or an earlier one, it is there.
    auto said = session_->Ask(CallOf(rpc_nfs3_mkdir_async, arguments), [](void*) {});
    if (!said.ok() || *said != NFS3ERR_EXIST) return said;
    auto seen = LookUp(folder, name);
    if (!seen.ok()) return Result<nfsstat3>(std::move(seen).status());
    if (seen->status == NFS3_OK && !seen->IsFolder()) return Result<nfsstat3>(NFS3ERR_NOTDIR);
    return Result<nfsstat3>(seen->status);
  });
}

// Every call of NFSv3 that changes a folder is answered when it is durable.
Status NfsStore::SyncFolder(const std::string& path) {
  session_->Begin();
  auto folder = Walk(path);
  return folder.ok() ? Status() : std::move(folder).status();
}

Result<std::vector<std::string>> NfsStore::List(const std::string& path) {
  session_->Begin();
  // Walked afresh: a server may list a folder that was removed as an empty one.
  auto folder = Walk(path);
  if (!folder.ok()) return std::move(folder).status();
  auto names = ListFolder(*session_, *folder);
  if (names.ok()) return names;
  return std::move(names).status().While("list " + Full(path));
}

Result<nfsstat3> NfsStore::SetMode(const FileHandle& handle, mode_t mode) {
  SETATTR3args arguments{};
  arguments.object = ToNfs(handle);
  arguments.new_attributes.mode.set_it = 1;
  arguments.new_attributes.mode.set_mode3_u.mode = mode;
  // An exclusive CREATE keeps its verifier where the times go.
  arguments.new_attributes.atime.set_it = SET_TO_SERVER_TIME;
  arguments.new_attributes.mtime.set_it = SET_TO_SERVER_TIME;
  return session_->Ask(CallOf(rpc_nfs3_setattr_async, arguments), [](void*) {});
}

// Exclusive: the server knows a repeated call by its verifier.  One that cannot is asked for a
// guarded CREATE.  After a lost answer an empty file with one name is ours, all the same: a server
// may die when it has made the file and not yet kept the verifier.
Result<nfsstat3> NfsStore::CreateIn(const FileHandle& folder, const std::string& name,
                                    FileHandle* made) {
  const auto nonce = FreshNonce();
  if (!nonce.ok()) return nonce.status();
  bool lost = false, guarded = false;
  for (;;) {
    CREATE3args arguments{};
    arguments.where = Named(folder, name);
    arguments.how.mode = guarded ? GUARDED : EXCLUSIVE;
    if (guarded) {
      arguments.how.createhow3_u.g_obj_attributes.mode.set_it = 1;
      arguments.how.createhow3_u.g_obj_attributes.mode.set_mode3_u.mode = 0666U & ~umask_;
    } else {
      std::memcpy(arguments.how.createhow3_u.verf, &*nonce, sizeof *nonce);
    }
    made->clear();
    const auto said = session_->Try(CallOf(rpc_nfs3_create_async, arguments), [&](void* data) {
      const auto& ok = static_cast<CREATE3res*>(data)->CREATE3res_u.resok;
      if (ok.obj.handle_follows != 0) *made = FromNfs(ok.obj.post_op_fh3_u.handle);
    });
    if (!said.ok()) return said.status();
    if (!said->has_value()) {
      lost = true;
      continue;
    }
    if (**said == NFS3ERR_NOTSUPP && !guarded) {
      guarded = true;
      continue;
    }
    const bool perhaps_ours = **said == NFS3ERR_EXIST && lost;
    if (**said != NFS3_OK && !perhaps_ours) return **said;
    if (!made->empty()) return SetMode(*made, 0666U & ~umask_);
    auto seen = LookUp(folder, name);
    if (!seen.ok()) return std::move(seen).status();
    if (seen->status != NFS3_OK) return seen->status;
    const bool fresh = seen->attributes.size == 0 && seen->attributes.nlink == 1;
    if (perhaps_ours && !fresh) return NFS3ERR_EXIST;
    *made = seen->handle;
    return SetMode(*made, 0666U & ~umask_);
  }
}

Result<std::unique_ptr<StoreFile>> NfsStore::Create(const std::string& path) {
  FileHandle made;
  Status created = In(path, "create", [&](const FileHandle& folder, const std::string& name) {
    return CreateIn(folder, name, &made);
  });
  if (!created.ok()) return created;
  return std::unique_ptr<StoreFile>(
      std::make_unique<NfsFile>(session_, std::move(made), Full(path), write_max_));
}

Result<nfsstat3> NfsStore::LinkIn(const Seen& file, const FileHandle& folder,
                                  const std::string& name) {
  LINK3args arguments{};
  arguments.file = ToNfs(file.handle);
  arguments.link = Named(folder, name);
  for (bool lost = false;; lost = true) {
    const auto said = session_->Try(CallOf(rpc_nfs3_link_async, arguments), [](void*) {});
    if (!said.ok()) return said.status();
    if (said->has_value() && (!lost || **said != NFS3ERR_EXIST)) return **said;
    // The answer was lost, of this call or of the one before it: look.
    const auto seen = LookUp(folder, name);
    if (!seen.ok()) return seen.status();
    if (seen->status == NFS3_OK) return seen->IsSameAs(file) ? NFS3_OK : NFS3ERR_EXIST;
    if (seen->status != NFS3ERR_NOENT) return seen->status;
  }
}

Status NfsStore::Link(const std::string& from, const std::string& to) {
  const auto file = Find(from, "link");
  if (!file.ok()) return file.status();
  return In(to, "link " + Full(from) + " to",
            [&](const FileHandle& folder, const std::string& name) {
              return LinkIn(*file, folder, name);
            });
}

Result<std::size_t> NfsStore::Read(const std::string& path, std::uint64_t offset,
                                   std::span<std::byte> into) {
  const std::string doing = "read " + Full(path) + " at byte " + std::to_string(offset);
  // Whoever reads on, reads on in the same file; at 0 it is looked for anew.
  if (offset > 0 && path == last_read_) {
    session_->Begin();
    auto read = ReadAt(*session_, last_handle_, {offset, into, read_max_});
    if (!read.ok()) return std::move(read).status().While(doing);
    if (read->status == NFS3_OK) return read->bytes;
    if (read->status != NFS3ERR_STALE) return NfsStatus(doing, read->status);
  }
  last_read_.clear();
  auto seen = Find(path, "read");
  if (!seen.ok()) return std::move(seen).status();
  if (seen->IsFolder()) return Status(Code::kUnavailable, doing + ": it is a folder");
  auto read = ReadAt(*session_, seen->handle, {offset, into, read_max_});
  if (!read.ok()) return std::move(read).status().While(doing);
  if (read->status != NFS3_OK) return NfsStatus(doing, read->status);
  last_read_ = path;
  last_handle_ = seen->handle;
  return read->bytes;
}

Result<std::uint64_t> NfsStore::Size(const std::string& path) {
  const auto seen = Find(path, "look at");
  if (!seen.ok()) return seen.status();
  return seen->attributes.size;
}

// A name that is gone after a lost answer was removed by it; one that is another file by now is
// not ours to remove.
Result<nfsstat3> NfsStore::RemoveFrom(const FileHandle& folder, const std::string& name,
                                      bool is_folder) {
  const auto before = LookUp(folder, name);
  if (!before.ok()) return before.status();
  if (before->status != NFS3_OK) return before->status;
  if (before->IsFolder() != is_folder) return is_folder ? NFS3ERR_NOTDIR : NFS3ERR_ISDIR;
  REMOVE3args file{};
  file.object = Named(folder, name);
  RMDIR3args empty{};
  empty.object = Named(folder, name);
  const SendCall send =
      is_folder ? CallOf(rpc_nfs3_rmdir_async, empty) : CallOf(rpc_nfs3_remove_async, file);
  for (;;) {
    const auto said = session_->Try(send, [](void*) {});
    if (!said.ok()) return said.status();
    if (said->has_value()) return **said;
    const auto after = LookUp(folder, name);
    if (!after.ok()) return after.status();
    if (after->status == NFS3ERR_NOENT) return NFS3_OK;
    if (after->status != NFS3_OK) return after->status;
    if (!after->IsSameAs(*before)) return NFS3_OK;
  }
}

Status NfsStore::Unlink(const std::string& path) {
  return In(path, "unlink", [&](const FileHandle& folder, const std::string& name) {
    return RemoveFrom(folder, name, /*is_folder=*/false);
  });
}

Status NfsStore::RemoveFolder(const std::string& path) {
  folders_.erase(path);
  return In(path, "rmdir", [&](const FileHandle& folder, const std::string& name) {
    return RemoveFrom(folder, name, /*is_folder=*/true);
  });
}

}  // namespace

Result<std::unique_ptr<Store>> OpenNfsStore(const NfsUrl& url) {
  const std::string doing = "store " + ShortText(url);
  const auto folder = MountFolder(url);
  if (!folder.ok()) return Status(folder.status()).While(doing);
  auto store = std::make_unique<NfsStore>(url, *folder);
  if (Status learnt = store->LearnLimits(); !learnt.ok()) return std::move(learnt).While(doing);
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace muster::checkpoint
