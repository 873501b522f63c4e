#include "runtime/checkpoint/nfs_read_nfs.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "runtime/checkpoint/nfs_file_nfs.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kInFlightMax = 16U << 20U;
constexpr count3 kListBytes = 64U << 10U;
constexpr int kListTries = 16;  // A folder that changes all the time makes its cookies void.

struct Part {
  std::size_t at = 0, size = 0;  // In what is read into.
};

struct Reading {
  std::span<std::byte> into;
  std::deque<Part> to_read;
  std::size_t on_their_way = 0;
  std::size_t end = 0;  // Of what the file has, as far as is known.
  bool busy = false;
  nfsstat3 status = NFS3_OK;

  void On(const Part& part, READ3res* result) {
    --on_their_way;
    if (result == nullptr) return to_read.push_front(part);
    if (result->status == NFS3ERR_JUKEBOX) {
      busy = true;
      return to_read.push_front(part);
    }
    if (result->status != NFS3_OK) {
      status = result->status;
      return;
    }
    const auto& ok = result->READ3res_u.resok;
    const std::size_t n = std::min<std::size_t>({ok.count, ok.data.data_len, part.size});
    if (n > 0) std::memcpy(into.data() + part.at, ok.data.data_val, n);
    if (ok.eof != 0 && n < part.size) {
      end = std::min(end, part.at + n);
    } else if (n == 0) {
      status = NFS3ERR_IO;  // Neither bytes nor the end.
    } else if (n < part.size) {
      to_read.push_front({.at = part.at + n, .size = part.size - n});
    }
  }
};

}  // namespace

Result<ReadOutcome> ReadAt(NfsSession& session, const FileHandle& file, const ReadRange& range) {
  const auto reading = std::make_shared<Reading>();
  reading->into = range.into;
  reading->end = range.into.size();
  for (std::size_t at = 0; at < range.into.size(); at += range.piece) {
    reading->to_read.push_back(
        {.at = at, .size = std::min<std::size_t>(range.piece, range.into.size() - at)});
  }
  // `into` is ours only until the return, so what is on its way is always waited for.
  while (reading->on_their_way > 0 || (reading->status == NFS3_OK && !reading->to_read.empty())) {
    if (std::exchange(reading->busy, false)) session.Busy();
    while (reading->status == NFS3_OK && !reading->to_read.empty() &&
           session.bytes_in_flight() < kInFlightMax) {
      const Part part = reading->to_read.front();
      READ3args arguments{};
      arguments.file = ToNfs(file);
      arguments.offset = range.offset + part.at;
      arguments.count = static_cast<count3>(part.size);
      const auto on_reply = [reading, part](void* result) {
        reading->On(part, static_cast<READ3res*>(result));
      };
      if (!session.Start(part.size, CallOf(rpc_nfs3_read_async, arguments), on_reply)) break;
      reading->to_read.pop_front();
      ++reading->on_their_way;
    }
    RETURN_IF_ERROR(session.Turn());
  }
  return ReadOutcome{.status = reading->status, .bytes = reading->end};
}

Result<std::vector<std::string>> ListFolder(NfsSession& session, const FileHandle& folder) {
  std::vector<std::string> names;
  READDIR3args arguments{};
  arguments.dir = ToNfs(folder);
  arguments.count = kListBytes;
  int tries = 1;
  for (bool end = false; !end;) {
    const auto said = session.Ask(CallOf(rpc_nfs3_readdir_async, arguments), [&](void* data) {
      const auto& ok = static_cast<READDIR3res*>(data)->READDIR3res_u.resok;
      std::memcpy(arguments.cookieverf, ok.cookieverf, sizeof arguments.cookieverf);
      for (const entry3* entry = ok.reply.entries; entry != nullptr; entry = entry->nextentry) {
        arguments.cookie = entry->cookie;
        const std::string name = entry->name;
        if (name != "." && name != "..") names.push_back(name);
      }
      end = ok.reply.eof != 0 || ok.reply.entries == nullptr;
    });
    if (!said.ok()) return said.status();
    if (*said == NFS3ERR_BAD_COOKIE && tries++ < kListTries) {
      names.clear();
      arguments.cookie = 0;
      std::memset(arguments.cookieverf, 0, sizeof arguments.cookieverf);
    } else if (*said != NFS3_OK) {
      return NfsStatus("READDIR", *said);
    }
  }
  return names;
}

}  // namespace muster::checkpoint
