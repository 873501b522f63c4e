#include "launcher/mover/mover_main_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "launcher/mover/answers.h"
#include "launcher/mover/local_runs_posix.h"
#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/base/mover_posix.h"
#include "runtime/base/mover_progress.h"
#include "runtime/checkpoint/parts.h"
#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"
#include "runtime/checkpoint/watched_store.h"

namespace muster {
namespace {

using mover::Failed;
using mover::FromMover;
using mover::ToMover;

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             RealClock().Wall().time_since_epoch())
      .count();
}

// Tried by a thread that ends: on Linux each has a nice value of its own.
bool NiceComesBack() {
  bool back = false;
  std::jthread([&] {
    const int before = getpriority(PRIO_PROCESS, 0);
    back =
        setpriority(PRIO_PROCESS, 0, before + 1) == 0 && setpriority(PRIO_PROCESS, 0, before) == 0;
  }).join();
  return back;
}

// While it lives, ranks come first: where they want all cores this process gets a tenth of one, and
// of an idle core everything.  Nothing where it could not come back, since a restart waits for its
// other work: root may, and whom root's agent lets (RLIMIT_NICE).
class BehindTraining {
 public:
  BehindTraining() {
    constexpr int kNice = 10;
    static const bool kComesBack = NiceComesBack();
    if (kComesBack && before_ < kNice) setpriority(PRIO_PROCESS, 0, kNice);
  }
  ~BehindTraining() { setpriority(PRIO_PROCESS, 0, before_); }
  BehindTraining(const BehindTraining&) = delete;
  BehindTraining& operator=(const BehindTraining&) = delete;

 private:
  const int before_ = getpriority(PRIO_PROCESS, 0);
};

// Memory of a descriptor, mapped.
class Mapping {
 public:
  static Result<Mapping> Of(int fd, std::uint64_t bytes, int protection) {
    Mapping mapping;
    if (bytes == 0) return mapping;  // mmap(2) has no empty mapping.
    void* at = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return ErrnoStatus("mmap", errno);
    mapping.bytes_ = {static_cast<std::byte*>(at), bytes};
    return mapping;
  }
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
  }
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  Mapping() = default;
  std::span<std::byte> bytes_;
};

// A memfd that has its memory already, so that a lack of it is an error and not a signal.
struct FreshMemory {
  UniqueFd fd;
  std::optional<Mapping> mapping;

  Result<std::span<std::byte>> Make(std::uint64_t bytes) {
    mapping.reset();
    fd.Reset(memfd_create("muster-loaded", MFD_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus("memfd_create", errno);
    if (bytes > 0 && fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
      return ErrnoStatus("taking " + std::to_string(bytes) + " bytes of memory", errno);
    }
    auto made = Mapping::Of(fd.get(), bytes, PROT_READ | PROT_WRITE);
    if (!made.ok()) return std::move(made).status();
    mapping = *std::move(made);
    return mapping->bytes();
  }
};

// Tells the job daemon where this mover is, and keeps it from going faster than it may.
class Pace final : public checkpoint::StoreWatch {
 public:
  void Share(Mapping page) {
    page_ = std::move(page);
    progress_ = reinterpret_cast<mover::Progress*>(page_->bytes().data());
  }
  void BeginRequest(std::uint64_t bytes_per_s = 0) {
    progress_->bytes = 0;
    progress_->Move();
    bytes_per_s_ = bytes_per_s;
    began_ = RealClock().Now();
  }
  void Begins(const char* verb, const std::string& path, std::uint64_t offset) override {
    progress_->Begin(verb, path, offset);
  }
  void Ended(std::uint64_t bytes) override {
    progress_->bytes += bytes;
    progress_->Move();
    if (bytes_per_s_ == 0) return;
    const auto due = began_ + std::chrono::duration_cast<Duration>(
                                  std::chrono::duration<double>(progress_->bytes) / bytes_per_s_);
    constexpr Duration kLook = std::chrono::milliseconds(100);
    for (Duration left = due - RealClock().Now(); left > Duration::zero();
         left = due - RealClock().Now()) {
      const auto ms = std::chrono::ceil<std::chrono::milliseconds>(std::min(left, kLook)).count();
      poll(nullptr, 0, static_cast<int>(ms));
      progress_->Move();  // It waits on purpose.
    }
  }

 private:
  mover::Progress own_{};
  mover::Progress* progress_ = &own_;
  std::optional<Mapping> page_;
  std::uint64_t bytes_per_s_ = 0;
  TimePoint began_{};
};

// What is read from the local store has no part in the shared one's limit.
class Uncounted final : public checkpoint::StoreWatch {
 public:
  explicit Uncounted(Pace& pace) : pace_(pace) {}
  void Begins(const char* verb, const std::string& path, std::uint64_t offset) override {
    pace_.Begins(verb, path, offset);
  }
  void Ended(std::uint64_t /*bytes*/) override { pace_.Ended(0); }

 private:
  Pace& pace_;
};

class Server {
 public:
  explicit Server(int socket) : socket_(socket) {}

  int Serve() {
    for (;;) {
      auto frame = mover::ReceiveFrame(socket_);
      if (!frame.ok()) {
        Log(LogLevel::kError, frame.status().message());
        return 70;
      }
      if (!frame->has_value()) return 0;
      auto request = DecodeVariant<ToMover>((*frame)->body);
      if (!request.ok()) {
        Send(**frame, mover::FailedWith(request.status()));
      } else if (!request->has_value()) {
        Send(**frame, Failed{.code = Code::kUnimplemented,
                             .text = "mover: a request that this build does not know"});
      } else if (std::holds_alternative<mover::Quit>(**request)) {
        return 0;
      } else {
        pace_.BeginRequest();
        std::visit([&](const auto& r) { On(**frame, r); }, **request);
      }
    }
  }

 private:
  void On(const mover::Frame& frame, const mover::Open& open) {
    if (frame.payload.valid()) {
      auto page = MapPayload(frame, PROT_READ | PROT_WRITE);
      if (!page.ok() || page->bytes().size() < sizeof(mover::Progress)) {
        return Send(frame, Failed{.code = Code::kInvalid, .text = "mover: no page for progress"});
      }
      pace_.Share(*std::move(page));
    }
    pace_.Begins("open", open.store, 0);
    Status named = checkpoint::CheckRunName(open.run);
    if (!named.ok()) return Send(frame, mover::FailedWith(named));
    auto store = checkpoint::OpenAnyStore(open.store);
    if (!store.ok()) return Send(frame, mover::FailedWith(store.status()));
    store_ = checkpoint::Watched(*std::move(store), pace_);
    run_ = open.run;
    store_path_ = open.store;
    const std::size_t slash = open.local.rfind('/') + 1;
    local_path_ = open.local.substr(0, slash);
    local_run_ = open.local.substr(slash);
    Send(frame, mover::Opened{});
  }

  void On(const mover::Frame& frame, const mover::Claim& claim) {
    if (!IsOpen(frame)) return;
    const auto nonce = checkpoint::FreshNonce();
    if (!nonce.ok()) return Send(frame, mover::FailedWith(nonce.status()));
    Send(frame, mover::Answer(At(), claim, *nonce, NowMs()));
  }

  void On(const mover::Frame& frame, const mover::Write& write) {
    if (!IsOpen(frame)) return;
    const auto memory = MapPayload(frame, PROT_READ);
    if (!memory.ok()) return Send(frame, mover::FailedWith(memory.status()));
    pace_.BeginRequest(write.bytes_per_s);
    const BehindTraining nice;
    Send(frame, mover::Answer(At(), write, memory->bytes()));
  }

  void On(const mover::Frame& frame, const mover::KeepPart& keep) {
    if (IsOpen(frame)) Send(frame, mover::Answer(At(), keep));
  }
  void On(const mover::Frame& frame, const mover::FindParts& find) {
    if (!IsOpen(frame)) return;
    Send(frame, mover::Answer(At(), find));
    in_use_ = HoldRun(store_path_ + "/" + run_);
    for (const std::string& run : ForgottenRuns(store_path_, run_, RealClock().Wall())) {
      const Status dropped = checkpoint::DropRun(*store_, run);
      Log(LogLevel::kWarning, "run=" + run + " was left in " + store_path_ + " and " +
                                  (dropped.ok() ? "is removed" : "stays: " + dropped.message()));
    }
  }
  void On(const mover::Frame& frame, const mover::FindSave& find) {
    if (IsOpen(frame)) Send(frame, mover::Answer(At(), find));
  }
  void On(const mover::Frame& frame, const mover::DropParts& drop) {
    if (IsOpen(frame)) Send(frame, mover::Answer(At(), drop));
  }

  // The local store is opened only here: without it all but moving works.
  void On(const mover::Frame& frame, const mover::MovePart& move) {
    if (!IsOpen(frame)) return;
    if (local_ == nullptr) {
      auto local = checkpoint::OpenStore(local_path_);
      if (!local.ok()) return Send(frame, mover::FailedWith(local.status()));
      local_ = checkpoint::Watched(*std::move(local), uncounted_);
    }
    pace_.BeginRequest(move.bytes_per_s);
    const BehindTraining nice;
    Send(frame, mover::Answer(At(), {.store = *local_, .run = local_run_}, move));
  }

  void On(const mover::Frame& frame, const mover::ReadBlocks& read) {
    if (!IsOpen(frame)) return;
    const auto memory = MapPayload(frame, PROT_READ | PROT_WRITE);
    if (!memory.ok()) return Send(frame, mover::FailedWith(memory.status()));
    Send(frame, mover::Answer(At(), read, memory->bytes()));
  }

  void On(const mover::Frame& frame, const mover::OpenNewest& open) {
    if (!IsOpen(frame)) return;
    FreshMemory memory;
    const FromMover answer =
        mover::Answer(At(), open, [&](std::uint64_t bytes) { return memory.Make(bytes); });
    const auto* opened = std::get_if<mover::CheckpointOpened>(&answer);
    Send(frame, answer, opened != nullptr && opened->found ? memory.fd.get() : -1);
  }

  void On(const mover::Frame& frame, const mover::LoadParts& load) {
    if (!IsOpen(frame)) return;
    FreshMemory memory;
    const FromMover answer =
        mover::Answer(At(), load, [&](std::uint64_t bytes) { return memory.Make(bytes); });
    Send(frame, answer, std::holds_alternative<mover::PartsLoaded>(answer) ? memory.fd.get() : -1);
  }

  void On(const mover::Frame& frame, const mover::Commit& commit) {
    if (!IsOpen(frame)) return;
    const FromMover answer = mover::Answer(At(), commit, NowMs());
    Send(frame, answer);
    if (!std::holds_alternative<mover::Committed>(answer)) return;
    const Status freed = mover::LetGoAfter(At(), commit, NowMs());
    if (freed.ok()) return;
    Log(LogLevel::kWarning,
        "run=" + run_ + " old checkpoints stay until the next commit: " + freed.message());
  }

  void On(const mover::Frame& frame, const mover::Load& load) {
    if (!IsOpen(frame)) return;
    FreshMemory memory;
    const FromMover answer =
        mover::Answer(At(), load, [&](std::uint64_t bytes) { return memory.Make(bytes); });
    const auto* loaded = std::get_if<mover::Loaded>(&answer);
    Send(frame, answer, loaded != nullptr && loaded->found ? memory.fd.get() : -1);
  }

  void On(const mover::Frame& /*frame*/, const mover::Quit& /*quit*/) {}

  bool IsOpen(const mover::Frame& frame) {
    if (store_ != nullptr) return true;
    Send(frame, Failed{.code = Code::kInvalid, .text = "mover: no store is open"});
    return false;
  }

  static Result<Mapping> MapPayload(const mover::Frame& frame, int protection) {
    struct stat info {};
    if (!frame.payload.valid() || fstat(frame.payload.get(), &info) != 0) {
      return Status(Code::kInvalid, "mover: a request without its memory");
    }
    return Mapping::Of(frame.payload.get(), static_cast<std::uint64_t>(info.st_size), protection);
  }

  mover::Opening At() const { return {.store = *store_, .run = run_}; }

  // A daemon that does not take its answer is gone; the next receive ends this process.
  void Send(const mover::Frame& request, const FromMover& answer, int payload = -1) {
    const Status sent = mover::SendFrame(socket_, request.id, EncodeVariant(answer), payload);
    if (!sent.ok()) Log(LogLevel::kWarning, sent.message());
  }

  const int socket_;
  Pace pace_;
  Uncounted uncounted_{pace_};
  std::unique_ptr<checkpoint::Store> store_, local_;
  std::string store_path_, run_, local_path_, local_run_;
  UniqueFd in_use_;  // The run's folder in a local store.
};

// False when the parent has died before the kernel was told to pass its death on.
bool DieWithParent(int socket) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  ucred maker{};
  socklen_t size = sizeof maker;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &maker, &size) != 0) return false;
  return getppid() == maker.pid;
}

}  // namespace

int MoverMain(int fd) {
  const UniqueFd socket(fd);
  SetLogProcess("mover");
  if (!DieWithParent(fd)) {
    Log(LogLevel::kError, "mover: descriptor " + std::to_string(fd) +
                              " is no socket whose other end this process's parent made");
    return 70;
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  // A Ctrl-C in the terminal goes to all: the daemon decides what still has to be written.
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  return Server(fd).Serve();
}

}  // namespace muster
