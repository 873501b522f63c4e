#include "tests/fakes/fake_jobd_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/check.h"

namespace muster {
namespace {

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  CHECK(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

std::vector<std::byte> BytesOf(int fd, std::size_t size) {
  std::vector<std::byte> bytes(size);
  CHECK(pread(fd, bytes.data(), size, 0) == static_cast<ssize_t>(size));
  return bytes;
}

}  // namespace

FakeJobd::FakeJobd(std::string folder, Shape shape)
    : folder_(std::move(folder)),
      shape_(shape),
      memories_(static_cast<std::size_t>(shape.nodes)),
      store_(static_cast<std::uint32_t>(shape.nodes)) {
  listener_.Reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const sockaddr_un address = AddressOf(folder_ + "/link");
  unlink(address.sun_path);
  CHECK(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  CHECK(listen(listener_.get(), 64) == 0);
}

FakeJobd::~FakeJobd() {
  unlink((folder_ + "/link").c_str());
}

pid_t FakeJobd::StartRanks(const std::vector<std::string>& command, const std::string& output) {
  std::vector<std::string> words = {"mpirun",
                                    "--allow-run-as-root",
                                    "--oversubscribe",
                                    "-np",
                                    std::to_string(shape_.nodes * shape_.per_node),
                                    RANK_EXEC,
                                    folder_ + "/link",
                                    std::to_string(shape_.per_node),
                                    std::to_string(attempt_)};
  words.insert(words.end(), command.begin(), command.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid > 0) return pid;
  const int fd = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  execvp(pointers[0], pointers.data());
  _exit(127);
}

FakeJobd::End FakeJobd::RunAttempt(const std::vector<std::string>& command, const Plan& plan) {
  End end;
  const std::string output = folder_ + "/output" + std::to_string(attempt_);
  const pid_t mpirun = StartRanks(command, output);
  ++attempt_;
  const UniqueFd gone(static_cast<int>(syscall(SYS_pidfd_open, mpirun, 0)));
  CHECK(gone.valid());
  constexpr TimePoint kNever = TimePoint::max();
  TimePoint act_at = kNever;
  for (bool over = false; !over;) {
    std::vector<pollfd> fds = {{gone.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Rank& rank : ranks_) fds.push_back({rank.socket.get(), POLLIN, 0});
    std::optional<timespec> timeout;
    if (act_at != kNever) {
      const auto left = std::max(Duration::zero(), act_at - RealClock().Now());
      timeout =
          timespec{.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
    }
    CHECK(ppoll(fds.data(), fds.size(), timeout ? &*timeout : nullptr, nullptr) >= 0);
    for (std::size_t i = 2; i < fds.size(); ++i) {
      if (fds[i].revents != 0) Serve(ranks_[i - 2], end);
    }
    std::erase_if(ranks_, [](const Rank& rank) { return !rank.socket.valid(); });
    if (fds[1].revents != 0) {
      ranks_.push_back(
          {.socket = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC))});
    }
    const bool planned = plan.act != Plan::Act::kNothing && !end.acted;
    if (planned && act_at == kNever && end.last_step >= plan.step)
      act_at = RealClock().Now() + plan.delay;
    if (planned && RealClock().Now() >= act_at) {
      Act(plan, end);
      act_at = kNever;
    }
    over = fds[0].revents != 0;
  }
  int status = 0;
  CHECK(waitpid(mpirun, &status, 0) == mpirun);
  ranks_.clear();
  end.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  auto text = ReadFile(output);
  CHECK(text.ok());
  end.output = *text;
  return end;
}

void FakeJobd::Serve(Rank& rank, End& end) {
  std::string bytes(link::kPacketMax, '\0');
  const ssize_t n = recv(rank.socket.get(), bytes.data(), bytes.size(), 0);
  if (n <= 0) {
    rank.socket.Reset();
    return;
  }
  auto message = link::DecodePacket<link::ToJobd>({bytes.data(), static_cast<std::size_t>(n)});
  CHECK(message.ok() && message->has_value());
  On(rank, **message, end);
}

void FakeJobd::On(Rank& rank, const link::ToJobd& message, End& end) {
  if (const auto* hello = std::get_if<link::Hello>(&message)) {
    rank.pid = hello->pid;
    rank.rank = std::stoi(hello->token);  // As rank_exec sets it.
  } else if (const auto* progress = std::get_if<link::Progress>(&message)) {
    end.last_step = std::max(end.last_step, progress->step);
    if (!progress->note.empty()) end.notes.push_back(progress->note);
  } else if (const auto* memory = std::get_if<link::MemoryGet>(&message)) {
    GiveMemory(rank, *memory);
  } else if (const auto* staged = std::get_if<link::Staged>(&message)) {
    Keep(rank, *staged);
  } else if (std::holds_alternative<link::OpenCheckpoint>(message)) {
    GiveManifest(rank);
  } else if (const auto* read = std::get_if<link::ReadBlocks>(&message)) {
    GiveBlocks(rank, *read);
  }
}

std::vector<std::byte> FakeJobd::MemoryOf(int node, const std::string& name) const {
  const auto& memories = memories_[static_cast<std::size_t>(node)];
  const auto it = memories.find(name);
  if (it == memories.end()) return {};
  struct stat info {};
  CHECK(fstat(it->second.get(), &info) == 0);
  return BytesOf(it->second.get(), static_cast<std::size_t>(info.st_size));
}

void FakeJobd::GiveMemory(Rank& rank, const link::MemoryGet& request) {
  UniqueFd& fd = memories_[static_cast<std::size_t>(NodeOf(rank))][request.name];
  const bool fresh = !fd.valid();
  if (fresh) fd.Reset(memfd_create(request.name.c_str(), MFD_CLOEXEC));
  struct stat info {};
  CHECK(fstat(fd.get(), &info) == 0);
  const auto size = fresh ? request.bytes : static_cast<std::uint64_t>(info.st_size);
  if (size != request.bytes) {
    return Send(rank, link::Memory{.name = request.name, .error = "it has another size"});
  }
  CHECK(ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
  Send(rank, link::Memory{.name = request.name, .bytes = size, .fresh = fresh}, fd.get());
}

void FakeJobd::Keep(Rank& rank, const link::Staged& staged) {
  rank.staged.insert(rank.staged.end(), staged.tensors.begin(), staged.tensors.end());
  if (!staged.host_state.empty()) rank.host_state = staged.host_state;
  if (staged.more) return;
  if (refuse_saves || staged.memory.empty()) {
    rank.staged.clear();
    Send(rank, link::Saved{.step = staged.step, .error = "the store is full"});
    return;
  }
  const int fd = memories_[static_cast<std::size_t>(NodeOf(rank))].at(staged.memory).get();
  store_.Save(static_cast<std::uint32_t>(NodeOf(rank)), staged.step, rank.staged,
              BytesOf(fd, checkpoint::TotalBytes(rank.staged)), rank.host_state);
  rank.staged.clear();
  Send(rank, link::Saved{.step = staged.step});
}

void FakeJobd::GiveManifest(const Rank& rank) {
  const auto opened = store_.OpenNewest();
  CHECK(opened.ok());
  if (!*opened) return Send(rank, link::CheckpointOpened{});
  const auto bytes = (*opened)->bytes();
  const UniqueFd fd(memfd_create("manifest", MFD_CLOEXEC));
  CHECK(WriteAll(fd.get(), bytes.data(), bytes.size()).ok());
  Send(rank, link::CheckpointOpened{.found = true, .bytes = bytes.size()}, fd.get());
}

void FakeJobd::GiveBlocks(const Rank& rank, const link::ReadBlocks& read) {
  const auto bytes =
      store_.Read({.generation = read.generation, .step = read.step, .nonce = read.nonce},
                  read.file, read.file_size, read.first, read.crcs);
  if (!bytes.ok()) return Send(rank, link::BlocksRead{.error = bytes.status().message()});
  const int fd = memories_[static_cast<std::size_t>(NodeOf(rank))].at(read.memory).get();
  const ssize_t n = pwrite(fd, bytes->data(), bytes->size(), 0);
  CHECK(n == static_cast<ssize_t>(bytes->size()));
  Send(rank, link::BlocksRead{});
}

void FakeJobd::Act(const Plan& plan, End& end) {
  for (const Rank& rank : ranks_) {
    if (rank.rank != plan.rank) continue;
    end.acted = true;
    if (plan.act == Plan::Act::kStop) {
      Send(rank, link::Stop{.grace_ms = 30'000});
      return;
    }
    kill(rank.pid, SIGKILL);
    KillAll();  // As a job daemon ends the gang of a dead rank.
    return;
  }
}

void FakeJobd::KillAll() {
  for (const Rank& rank : ranks_) {
    if (rank.pid > 0) kill(rank.pid, SIGKILL);
  }
}

void FakeJobd::Send(const Rank& rank, const link::ToRank& message, int fd) {
  std::string packet = link::EncodePacket(message, 0);
  iovec part{.iov_base = packet.data(), .iov_len = packet.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  const ssize_t sent = sendmsg(rank.socket.get(), &header, MSG_NOSIGNAL);
  CHECK(sent >= 0 || errno == EPIPE || errno == ECONNRESET);  // Killed meanwhile.
}

}  // namespace muster
