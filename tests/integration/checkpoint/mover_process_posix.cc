#include "tests/integration/checkpoint/mover_process_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "runtime/base/check.h"
#include "runtime/base/mover_posix.h"

namespace muster::mover {

TemporaryFolder::TemporaryFolder() {
  char path[] = "/tmp/muster-test-XXXXXX";
  CHECK(mkdtemp(path) != nullptr);
  path_ = path;
}

TemporaryFolder::~TemporaryFolder() {
  static_cast<void>(RemoveTree(path_));
}

UniqueFd MemoryOf(const std::vector<std::byte>& bytes) {
  UniqueFd fd(memfd_create("muster-test", MFD_CLOEXEC));
  CHECK(fd.valid() && WriteAll(fd.get(), bytes.data(), bytes.size()).ok());
  return fd;
}

std::vector<std::byte> BytesOf(int fd) {
  struct stat info {};
  CHECK(fstat(fd, &info) == 0 && lseek(fd, 0, SEEK_SET) == 0);
  std::vector<std::byte> bytes(static_cast<std::size_t>(info.st_size));
  CHECK(ReadAll(fd, bytes.data(), bytes.size()).ok());
  return bytes;
}

MoverProcess::MoverProcess(const std::function<void()>& before) {
  std::array<int, 2> ends{};
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
  socket_.Reset(ends[0]);
  const UniqueFd theirs(ends[1]);
  pid_ = fork();
  CHECK(pid_ >= 0);
  if (pid_ > 0) return;
  if (before) before();
  fcntl(theirs.get(), F_SETFD, 0);
  const std::string fd = std::to_string(theirs.get());
  execl(MOVER_PROGRAM, "mover_alone", fd.c_str(), nullptr);
  _exit(127);
}

MoverProcess::~MoverProcess() {
  if (pid_ < 0) return;
  Kill();
  Wait();
}

void MoverProcess::Send(const ToMover& request, int payload) {
  // A mover that is gone shows at the next Receive.
  static_cast<void>(SendFrame(socket_.get(), ++sent_, EncodeVariant(request), payload));
}

MoverProcess::Answered MoverProcess::Receive() {
  auto frame = ReceiveFrame(socket_.get());
  if (!frame.ok() || !frame->has_value()) {
    return {.answer = Failed{.code = Code::kUnavailable, .text = "the mover is gone"}};
  }
  CHECK((*frame)->id == sent_);
  auto answer = DecodeVariant<FromMover>((*frame)->body);
  CHECK(answer.ok() && answer->has_value());
  return {.answer = std::move(**answer), .payload = std::move((*frame)->payload)};
}

MoverProcess::Answered MoverProcess::Ask(const ToMover& request, int payload) {
  Send(request, payload);
  return Receive();
}

bool MoverProcess::Ready(int timeout_us) {
  pollfd one{.fd = socket_.get(), .events = POLLIN};
  const timespec timeout{.tv_sec = timeout_us / 1'000'000,
                         .tv_nsec = timeout_us % 1'000'000 * 1000L};
  return ppoll(&one, 1, &timeout, nullptr) > 0;
}

void MoverProcess::Kill() {
  kill(pid_, SIGKILL);
}

int MoverProcess::Wait() {
  int status = 0;
  CHECK(waitpid(pid_, &status, 0) == pid_);
  pid_ = -1;
  return status;
}

}  // namespace muster::mover
