#include "tests/soak/crashes/client.h"

#include <algorithm>
#include <iostream>

#include "runtime/checkpoint/uncommitted.h"

namespace muster::checkpoint {
namespace {

Status DeadStatus() {
  return Status(Code::kUnavailable, "the process is dead");
}

std::string Parent(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

bool IsNameChange(const char* kind) {
  return std::string_view(kind) == "link" || std::string_view(kind) == "unlink";
}

}  // namespace

const char* Name(Event::What what) {
  constexpr const char* kNames[] = {
      "a process died",           "a node was lost", "died with a request under way",
      "power or server was lost", "a call failed",   "calls failed for some time"};
  return kNames[static_cast<int>(what)];
}

const char* Name(Fault fault) {
  constexpr const char* kNames[] = {"ENOSPC", "ENOSPC at fsync", "EDQUOT",     "EROFS",
                                    "EIO",    "ESTALE",          "lost reply", "late"};
  return kNames[static_cast<int>(fault)];
}

// ---- the weather --------------------------------------------------------------------------------

Weather::Weather(std::uint64_t seed, bool on_a_share, std::vector<Event> events, Turns& with_turns,
                 Tally& with_tally, bool trace)
    : share(on_a_share),
      turns(with_turns),
      tally(with_tally),
      random(seed),
      events_(std::move(events)),
      trace_(trace) {}

const Event* Weather::Draw() {
  RunLate(/*all=*/false);
  const std::uint64_t call = calls_++;
  for (const Event& event : events_) {
    const bool lasting = event.what == Event::What::kLasting;
    if (event.call == call || (lasting && event.call < call && call < event.until)) return &event;
  }
  return nullptr;
}

void Weather::Postpone(const std::string& path, std::function<Status()> act) {
  late_.emplace(calls_ + random() % 60, [this, path, act = std::move(act)] {
    ++tally.counts[act().ok() ? "a late request took effect" : "a late request found nothing"];
    if (share) static_cast<void>(store.SyncFolder(Parent(path)));
  });
}

void Weather::RunLate(bool all) {
  while (!late_.empty() && (all || late_.begin()->first <= calls_)) {
    const auto act = std::move(late_.begin()->second);
    late_.erase(late_.begin());
    act();
  }
}

void Weather::PowerLost() {
  Trace("power or server lost");
  if (share) {
    // What its clients have not had committed they still have; what nobody has any more is gone.
    ++lives;
    store.Restart(Loss::kUnsynced, 0);
    return;
  }
  ++epoch;
  late_.clear();
  const Loss losses[] = {Loss::kUnsynced, Loss::kRandom, Loss::kRandom};
  const Loss loss = losses[random() % 3];
  store.Restart(loss, random());
}

void Weather::Calm() {
  events_.clear();
  RunLate(/*all=*/true);
}

void Weather::Trace(const std::string& line) const {
  if (trace_) std::cout << calls_ << " " << line << "\n";
}

// ---- files --------------------------------------------------------------------------------------

// On one machine: what is written stays in memory until fsync.
class ClientFile final : public StoreFile {
 public:
  ClientFile(Client& client, std::string path, std::unique_ptr<StoreFile> file)
      : client_(client), path_(std::move(path)), file_(std::move(file)) {}

  Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override {
    // In parts, so that there is more than one place to die in.
    const std::size_t part = bytes.size() / 3 + 1;
    for (std::size_t at = 0; at < bytes.size(); at += part) {
      const auto now = bytes.subspan(at, std::min(part, bytes.size() - at));
      RETURN_IF_ERROR(
          client_.Call("write", path_, [&] { return file_->WriteAt(offset + at, now); }));
    }
    return {};
  }
  Status SyncAndClose() override {
    Status synced = client_.Call("fsync", path_, [&] { return file_->SyncAndClose(); });
    if (!client_.died()) client_.open_.erase(path_);
    return synced;
  }

 private:
  Client& client_;
  const std::string path_;
  std::unique_ptr<StoreFile> file_;
};

// On a share: WRITE and COMMIT, each of which may meet another life of the server.
class ShareFile final : public StoreFile {
 public:
  ShareFile(Client& client, std::string path, std::unique_ptr<StoreFile> file)
      : client_(client), path_(std::move(path)), file_(std::move(file)) {}

  Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const std::size_t n = kept_.Add(offset, bytes);
      offset += n;
      bytes = bytes.subspan(n);
      RETURN_IF_ERROR(Send(/*closing=*/false));
    }
    return {};
  }
  Status SyncAndClose() override {
    while (!kept_.empty()) RETURN_IF_ERROR(Send(/*closing=*/true));
    if (kept_.resent() > 0) ++client_.weather_.tally.counts["bytes were sent again"];
    client_.open_.erase(path_);
    return {};
  }

 private:
  Status Send(bool closing) {
    while (const auto* piece = kept_.NextToSend()) {
      const Status written =
          client_.Call("write", path_, [&] { return file_->WriteAt(piece->offset, piece->bytes); });
      if (written.ok()) {
        kept_.Written(piece->id, piece->bytes.size(), /*durable=*/false, Verifier());
      } else {
        kept_.Lost(piece->id);
        RETURN_IF_ERROR(AgainAfter(written));
      }
    }
    if (!kept_.CommitDue(closing)) return {};
    kept_.CommitSent();
    // The verifier of the life that answers.
    const Status committed = client_.Call("fsync", path_, [&] { return file_->SyncAndClose(); });
    if (committed.ok()) {
      kept_.Committed(Verifier());
      return {};
    }
    kept_.CommitLost();
    return AgainAfter(committed);
  }
  // Nobody answered, so it is tried again; any other error is final.
  Status AgainAfter(const Status& failed) {
    const bool silent = failed.message().find("timed out") != std::string::npos;
    return silent && ++silences_ < 5 ? Status() : failed;
  }
  WriteVerifier Verifier() const {
    return {static_cast<char>(client_.weather_.lives), static_cast<char>(1)};
  }

  Client& client_;
  const std::string path_;
  std::unique_ptr<StoreFile> file_;
  int silences_ = 0;
  Uncommitted kept_{{.piece = 1536, .kept = 3072, .commit_every = 3072}};
};

// ---- one process --------------------------------------------------------------------------------

Client::Client(Weather& weather, std::string part)
    : weather_(weather),
      part_(std::move(part)),
      epoch_(weather.epoch),
      id_(static_cast<int>(++weather.tally.counts["processes"] % 1000)) {}

void Client::set_part(const std::string& part) {
  part_ = part;
  nth_ = 0;
}

Status Client::Call(const char* kind, const std::string& path, const std::function<Status()>& act) {
  weather_.turns.Pass();
  if (died()) return DeadStatus();
  const Event* event = weather_.Draw();
  const std::string where = "#" + std::to_string(id_) + " " + part_ + " " + kind + " " + path;
  weather_.Trace(where + (event == nullptr ? "" : std::string("  ** ") + Name(event->what)));
  Tally::Point& point = weather_.tally.points[{part_, nth_++}];
  ++point.made;
  if (event == nullptr) return act();
  struck_ = true;
  ++weather_.tally.counts[Name(event->what)];
  const bool fault = event->what == Event::What::kFault || event->what == Event::What::kLasting;
  if (event->what == Event::What::kPower && weather_.share) {
    weather_.PowerLost();
    return act();
  }
  if (!fault) {
    ++point.died;
    ++weather_.tally.counts[std::string("died in ") + part_ + ": " + kind];
    return Die(*event, kind, path, act);
  }
  ++weather_.tally.counts[Name(event->fault)];
  if (event->fault == Fault::kLate) {
    if (IsNameChange(kind)) weather_.Postpone(path, act);
    return Status(Code::kUnavailable, std::string(kind) + ": Connection timed out");
  }
  weather_.store.FailAt(0, event->fault);
  Status failed = act();
  weather_.store.Heal();
  return failed;
}

Status Client::Die(const Event& event, const char* kind, const std::string& path,
                   const std::function<Status()>& act) {
  dead_ = true;
  if (event.what == Event::What::kInLink && IsNameChange(kind)) {
    weather_.Postpone(path, act);
    return DeadStatus();
  }
  weather_.store.DieAt(0, event.death);
  static_cast<void>(act());
  weather_.store.Restart(Loss::kNothing, 0);
  if (event.what == Event::What::kPower) weather_.PowerLost();
  if (event.what != Event::What::kNode) return DeadStatus();
  for (const std::string& unsynced : open_) {
    if (!weather_.store.Size(unsynced).ok()) continue;
    std::string& bytes = weather_.store.Bytes(unsynced);
    if ((weather_.random() & 1U) != 0) {
      bytes.resize(weather_.random() % (bytes.size() + 1));
    } else if (!bytes.empty()) {
      const std::size_t from = weather_.random() % bytes.size();
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end(), '\0');
    }
  }
  return DeadStatus();
}

Status Client::Named(const std::string& path, Status done) {
  if (weather_.share) static_cast<void>(weather_.store.SyncFolder(Parent(path)));
  return done;
}

Status Client::MakeFolder(const std::string& path) {
  return Named(path, Call("mkdir", path, [&] { return weather_.store.MakeFolder(path); }));
}

Status Client::SyncFolder(const std::string& path) {
  return Call("fsync folder", path, [&] { return weather_.store.SyncFolder(path); });
}

Result<std::vector<std::string>> Client::List(const std::string& path) {
  Result<std::vector<std::string>> names = DeadStatus();
  Status listed = Call("list", path, [&] {
    names = weather_.store.List(path);
    return names.status();
  });
  if (!listed.ok()) return listed;
  return names;
}

Result<std::unique_ptr<StoreFile>> Client::Create(const std::string& path) {
  Result<std::unique_ptr<StoreFile>> file = DeadStatus();
  Status created = Named(path, Call("create", path, [&] {
                           file = weather_.store.Create(path);
                           return file.status();
                         }));
  if (!created.ok()) return created;
  open_.insert(path);
  if (!weather_.share) {
    return std::unique_ptr<StoreFile>(std::make_unique<ClientFile>(*this, path, *std::move(file)));
  }
  return std::unique_ptr<StoreFile>(std::make_unique<ShareFile>(*this, path, *std::move(file)));
}

Status Client::Link(const std::string& from, const std::string& to) {
  Weather* weather = &weather_;
  return Named(to, Call("link", to, [weather, from, to] {
                 Status linked = weather->store.Link(from, to);
                 return linked;
               }));
}

Result<std::size_t> Client::Read(const std::string& path, std::uint64_t offset,
                                 std::span<std::byte> into) {
  Result<std::size_t> n = DeadStatus();
  Status read = Call("read", path, [&] {
    n = weather_.store.Read(path, offset, into);
    return n.status();
  });
  if (!read.ok()) return read;
  return n;
}

Result<std::uint64_t> Client::Size(const std::string& path) {
  Result<std::uint64_t> size = DeadStatus();
  Status sized = Call("size", path, [&] {
    size = weather_.store.Size(path);
    return size.status();
  });
  if (!sized.ok()) return sized;
  return size;
}

Status Client::Unlink(const std::string& path) {
  Weather* weather = &weather_;
  return Named(path, Call("unlink", path, [weather, path] { return weather->store.Unlink(path); }));
}

Status Client::RemoveFolder(const std::string& path) {
  return Named(path, Call("rmdir", path, [&] { return weather_.store.RemoveFolder(path); }));
}

}  // namespace muster::checkpoint
