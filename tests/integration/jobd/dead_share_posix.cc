#include "tests/integration/jobd/dead_share_posix.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "runtime/base/check.h"

namespace muster {
namespace {

void Answer(int fuse, const fuse_in_header& to, int error, const void* body, std::size_t size) {
  fuse_out_header head{};
  head.len = static_cast<std::uint32_t>(sizeof head + size);
  head.error = -error;
  head.unique = to.unique;
  std::vector<char> frame(sizeof head + size);
  std::memcpy(frame.data(), &head, sizeof head);
  if (size > 0) std::memcpy(frame.data() + sizeof head, body, size);
  static_cast<void>(!write(fuse, frame.data(), frame.size()));
}

void Serve(int fuse, const fuse_in_header& asked, const char* body, int tell) {
  if (asked.opcode == FUSE_INIT) {
    fuse_init_in in{};
    std::memcpy(&in, body, 8);  // Its two version numbers.
    fuse_init_out out{};
    out.major = FUSE_KERNEL_VERSION;
    out.minor = in.minor < FUSE_KERNEL_MINOR_VERSION ? in.minor : FUSE_KERNEL_MINOR_VERSION;
    out.max_write = 1U << 20U;
    Answer(fuse, asked, 0, &out, sizeof out);
  } else if (asked.opcode == FUSE_GETATTR) {
    fuse_attr_out out{};
    out.attr.ino = FUSE_ROOT_ID;
    out.attr.mode = S_IFDIR | 0777;
    out.attr.nlink = 2;
    Answer(fuse, asked, 0, &out, sizeof out);
  } else if (asked.opcode == FUSE_LOOKUP) {
    static_cast<void>(!write(tell, "!", 1));
  } else if (asked.opcode != FUSE_FORGET && asked.opcode != FUSE_BATCH_FORGET &&
             asked.opcode != FUSE_INTERRUPT) {
    Answer(fuse, asked, ENOSYS, nullptr, 0);
  }
}

[[noreturn]] void ServeForEver(const std::string& folder, int tell) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  const std::string options =
      "fd=" + std::to_string(fuse) + ",rootmode=40000,user_id=0,group_id=0,allow_other";
  if (fuse < 0 || mount("muster-test", folder.c_str(), "fuse", 0, options.c_str()) != 0) _exit(1);
  std::vector<char> buffer((1U << 20U) + 4096);
  static_cast<void>(!write(tell, "+", 1));
  for (;;) {
    const ssize_t n = read(fuse, buffer.data(), buffer.size());
    if (n < 0 && (errno == EINTR || errno == ENOENT)) continue;
    if (n < static_cast<ssize_t>(sizeof(fuse_in_header))) break;
    fuse_in_header head{};
    std::memcpy(&head, buffer.data(), sizeof head);
    Serve(fuse, head, buffer.data() + sizeof head, tell);
  }
  for (;;) pause();  // Unmounted; who is caught stays so while the descriptor is open.
}

}  // namespace

bool DeadShare::Possible() {
  return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0;
}

DeadShare::DeadShare(const std::string& folder) : folder_(folder) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  server_ = fork();
  if (server_ == 0) ServeForEver(folder_, ends[1]);
  close(ends[1]);
  told_.Reset(ends[0]);
  char up = 0;
  CHECK(read(told_.get(), &up, 1) == 1 && up == '+');
}

bool DeadShare::Caught() {
  pollfd fd{.fd = told_.get(), .events = POLLIN};
  return poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN) != 0;
}

void DeadShare::Unmount() {
  if (mounted_) CHECK(umount2(folder_.c_str(), MNT_DETACH) == 0);
  mounted_ = false;
}

void DeadShare::Abort() {
  if (server_ > 0) {
    kill(server_, SIGKILL);
    waitpid(server_, nullptr, 0);
  }
  server_ = 0;
  Unmount();
}

char StateOf(pid_t pid) {
  const auto line = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  if (!line.ok()) return ' ';
  const std::size_t after = line->rfind(')');
  return after == std::string::npos || after + 2 >= line->size() ? ' ' : (*line)[after + 2];
}

bool MountsOfOnesOwn() {
  return unshare(CLONE_NEWNS) == 0 &&
         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

}  // namespace muster
