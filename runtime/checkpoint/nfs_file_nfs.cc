#include "runtime/checkpoint/nfs_file_nfs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/file_posix.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kInFlightMax = 16U << 20U;
// Each restart makes one COMMIT futile; nobody restarts this often in one file.
constexpr int kFutileMax = 20;

WriteVerifier VerifierOf(const writeverf3& verf) {
  WriteVerifier verifier;
  std::memcpy(verifier.data(), verf, verifier.size());
  return verifier;
}

std::string At(const std::string& name, std::uint64_t offset) {
  return "write " + name + " at byte " + std::to_string(offset);
}

}  // namespace

Status NfsStatus(const std::string& doing, nfsstat3 status) {
  switch (status) {
    case NFS3_OK:
      return {};
    case NFS3ERR_DQUOT:
      return ErrnoStatus(doing, EDQUOT);
    case NFS3ERR_BADHANDLE:
    case NFS3ERR_STALE:
      return ErrnoStatus(doing, ESTALE);
    case NFS3ERR_NOTEMPTY:
      return ErrnoStatus(doing, ENOTEMPTY);
    default:
      return ErrnoStatus(doing, status < 10000 ? static_cast<int>(status) : EREMOTEIO)
          .While(status < 10000 ? "the server" : nfsstat3_to_str(status));
  }
}

NfsFile::NfsFile(std::shared_ptr<NfsSession> session, FileHandle handle, std::string name,
                 std::size_t piece)
    : session_(std::move(session)),
      handle_(std::move(handle)),
      state_(std::make_shared<State>(Uncommitted::Limits{.piece = piece})) {
  state_->name = std::move(name);
}

bool NfsFile::SendPiece(const Uncommitted::Piece& piece) {
  WRITE3args arguments{};
  arguments.file = ToNfs(handle_);
  arguments.offset = piece.offset;
  arguments.count = static_cast<count3>(piece.bytes.size());
  arguments.stable = UNSTABLE;
  arguments.data.data_len = arguments.count;
  // libnfs copies it into the call.
  arguments.data.data_val = const_cast<char*>(reinterpret_cast<const char*>(piece.bytes.data()));
  const auto on_reply = [state = state_, id = piece.id, offset = piece.offset,
                         size = piece.bytes.size()](void* data) {
    if (data == nullptr) return state->kept.Lost(id);
    const auto& result = *static_cast<WRITE3res*>(data);
    const auto& ok = result.WRITE3res_u.resok;
    if (result.status == NFS3_OK && ok.count > 0) {
      return state->kept.Written(id, std::min<std::size_t>(ok.count, size),
                                 ok.committed != UNSTABLE, VerifierOf(ok.verf));
    }
    state->kept.Lost(id);
    if (result.status == NFS3ERR_JUKEBOX) {
      state->busy = true;
    } else if (state->failed.ok()) {
      state->failed =
          result.status == NFS3_OK
              ? Status(Code::kUnavailable, At(state->name, offset) + ": the server takes nothing")
              : NfsStatus(At(state->name, offset), result.status);
    }
  };
  return session_->Start(piece.bytes.size(), CallOf(rpc_nfs3_write_async, arguments), on_reply);
}

void NfsFile::SendCommit() {
  COMMIT3args arguments{};
  arguments.file = ToNfs(handle_);  // From 0, 0 bytes: all of the file.
  const auto on_reply = [state = state_](void* data) {
    if (data == nullptr) return state->kept.CommitLost();
    const auto& result = *static_cast<COMMIT3res*>(data);
    if (result.status == NFS3_OK) {
      return state->kept.Committed(VerifierOf(result.COMMIT3res_u.resok.verf));
    }
    state->kept.CommitLost();
    if (result.status == NFS3ERR_JUKEBOX) {
      state->busy = true;
    } else if (state->failed.ok()) {
      state->failed = NfsStatus(
          "commit " + state->name + " from byte " + std::to_string(state->kept.first_offset()),
          result.status);
    }
  };
  if (session_->Start(0, CallOf(rpc_nfs3_commit_async, arguments), on_reply)) {
    state_->kept.CommitSent();
  }
}

void NfsFile::Send(bool closing) {
  if (std::exchange(state_->busy, false)) session_->Busy();
  Uncommitted& kept = state_->kept;
  while (state_->failed.ok() && session_->bytes_in_flight() < kInFlightMax) {
    const Uncommitted::Piece* piece = kept.NextToSend();
    if (piece == nullptr) break;
    if (SendPiece(*piece)) continue;
    kept.Lost(piece->id);
    break;
  }
  if (state_->failed.ok() && kept.CommitDue(closing)) SendCommit();
  if (kept.futile_commits() >= kFutileMax && state_->failed.ok()) {
    state_->failed = Status(
        Code::kUnavailable,
        "commit " + state_->name + ": the server's write verifier was another one " +
            std::to_string(kFutileMax) +
            " times in a row; are there several servers behind one address? Give one of theirs");
  }
}

Status NfsFile::Turn(NfsSession::Wait wait) {
  Status turned = session_->Turn(wait);
  if (turned.ok()) return {};
  state_->failed =
      std::move(turned).While(At(state_->name, std::min(state_->kept.first_offset(), end_)));
  return state_->failed;
}

Status NfsFile::WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) {
  session_->Begin();
  end_ = std::max(end_, offset + bytes.size());
  while (!bytes.empty()) {
    RETURN_IF_ERROR(state_->failed);
    const std::size_t n = state_->kept.Add(offset, bytes);
    offset += n;
    bytes = bytes.subspan(n);
    Send(/*closing=*/false);
    if (n == 0) RETURN_IF_ERROR(Turn(NfsSession::Wait::kForSomething));
  }
  RETURN_IF_ERROR(Turn(NfsSession::Wait::kNot));
  Send(/*closing=*/false);
  return state_->failed;
}

Status NfsFile::SyncAndClose() {
  session_->Begin();
  while (state_->failed.ok() && !state_->kept.empty()) {
    Send(/*closing=*/true);
    if (state_->failed.ok()) RETURN_IF_ERROR(Turn(NfsSession::Wait::kForSomething));
  }
  RETURN_IF_ERROR(state_->failed);
  state_->failed = Status(Code::kInternal, state_->name + " is closed");
  return CheckSize();
}

// Whatever the server promised: if the file is shorter now, somebody has cut it.
Status NfsFile::CheckSize() {
  GETATTR3args arguments{};
  arguments.object = ToNfs(handle_);
  std::uint64_t size = 0;
  const auto answered =
      session_->Ask(CallOf(rpc_nfs3_getattr_async, arguments), [&size](void* data) {
        size = static_cast<GETATTR3res*>(data)->GETATTR3res_u.resok.obj_attributes.size;
      });
  const std::string doing = "look at " + state_->name;
  if (!answered.ok()) return Status(answered.status()).While(doing);
  if (*answered != NFS3_OK) return NfsStatus(doing, *answered);
  if (size == end_) return {};
  return Status(Code::kUnavailable, state_->name + " has " + std::to_string(size) +
                                        " bytes after the last COMMIT, should have " +
                                        std::to_string(end_));
}

}  // namespace muster::checkpoint
