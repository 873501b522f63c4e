// A new file on an NFS server: written without waiting for each answer, committed as it grows.
//
// One thread.
#pragma once

#include <memory>
#include <string>

#include "runtime/checkpoint/nfs_session_nfs.h"
#include "runtime/checkpoint/store.h"
#include "runtime/checkpoint/uncommitted.h"

namespace muster::checkpoint {

// "DOING: No space left on device", by the codes that store.h promises.
Status NfsStatus(const std::string& doing, nfsstat3 status);

class NfsFile final : public StoreFile {
 public:
  // `name` is for messages; `piece` what the server takes in one WRITE.
  NfsFile(std::shared_ptr<NfsSession> session, FileHandle handle, std::string name,
          std::size_t piece);

  Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Status SyncAndClose() override;

 private:
  // Shared with the calls under way, which may outlive a file that is dropped.
  struct State {
    explicit State(Uncommitted::Limits limits) : kept(limits) {}
    Uncommitted kept;
    Status failed;
    bool busy = false;
    std::string name;
  };

  void Send(bool closing);
  bool SendPiece(const Uncommitted::Piece& piece);
  void SendCommit();
  Status Turn(NfsSession::Wait wait);
  Status CheckSize();

  const std::shared_ptr<NfsSession> session_;
  const FileHandle handle_;
  const std::shared_ptr<State> state_;
  std::uint64_t end_ = 0;
};

}  // namespace muster::checkpoint
