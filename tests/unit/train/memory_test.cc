#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/file_posix.h"
#include "runtime/comm/shared_memory_posix.h"
#include "runtime/train/memory_posix.h"

namespace muster {
namespace {

constexpr std::size_t kBytes = 1U << 20U;

UniqueFd Memfd(std::size_t bytes) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}

std::string Refusal(const UniqueFd& fd) {
  const auto mapped = MapShared(fd.get(), "gradients", kBytes);
  EXPECT_EQ(mapped.status().code(), Code::kExhausted);
  return mapped.status().message();
}

TEST(SharedMemory, OfTheJobDaemonIsMapped) {
  const UniqueFd fd = Memfd(kBytes);
  const auto mapped = MapShared(fd.get(), "gradients", kBytes);
  ASSERT_TRUE(mapped.ok());
  (*mapped)[kBytes - 1] = std::byte{7};
  munmap(mapped->data(), mapped->size());
}

// Of the part, to whole pages, and of nothing else.
TEST(SharedMemory, TakesThePagesOfAPartBeforeTheyAreWritten) {
  const UniqueFd fd = Memfd(kBytes);
  const auto mapped = MapShared(fd.get(), "stage", kBytes);
  ASSERT_TRUE(mapped.ok());
  const auto taken = [&] {
    struct stat info {};
    EXPECT_EQ(fstat(fd.get(), &info), 0);
    return static_cast<std::size_t>(info.st_blocks) * 512;
  };
  ASSERT_EQ(taken(), 0U);
  ASSERT_TRUE(TakePages(mapped->subspan(5000, 20000)).ok());
  if (taken() == 0) GTEST_SKIP() << "skipped: this kernel has no MADV_POPULATE_WRITE";
  EXPECT_EQ(taken(), 6U * 4096);
  EXPECT_TRUE(TakePages(mapped->first(0)).ok());
  EXPECT_TRUE(TakePages(*mapped).ok());
  EXPECT_EQ(taken(), kBytes);
  munmap(mapped->data(), mapped->size());
}

TEST(SharedMemory, ThatIsSealedAgainstWritingIsSaidToBe) {
  const UniqueFd fd = Memfd(kBytes);
  ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_EQ(Refusal(fd), "cannot share 1.0 MiB of memory, gradients: it is sealed against writing");
}

TEST(SharedMemory, ThatIsTooSmallIsSaidToBeInsteadOfKillingWhoTouchesIt) {
  EXPECT_EQ(Refusal(Memfd(4096)), "cannot share 1.0 MiB of memory, gradients: it has 4.0 KiB only");
}

// In a child, whose address space may be cut.
TEST(SharedMemory, ThatFindsNoAddressesNamesTheLimits) {
  const UniqueFd fd = Memfd(kBytes);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    setrlimit(RLIMIT_AS, &none);
    const auto mapped = MapShared(fd.get(), "gradients", kBytes);
    const bool named =
        !mapped.ok() && mapped.status().message().find("ulimit -v") != std::string::npos;
    _exit(named ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(SharedMemory, OfAnotherHostIsNotTakenForAnotherFile) {
  auto memory = SharedMemory::Make(kBytes);
  ASSERT_TRUE(memory.ok());
  EXPECT_TRUE(SharedMemory::Open(memory->handle(), kBytes).ok());
  // On another host the same name is something else, or nothing.
  const UniqueFd other = Memfd(kBytes);
  SharedMemory::Handle handle = memory->handle();
  handle.fd = other.get();
  Status status = SharedMemory::Open(handle, kBytes).status();
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("are on different hosts"), std::string::npos);
  EXPECT_NE(status.message().find("another file has its name"), std::string::npos);
  handle.fd = 987654;
  status = SharedMemory::Open(handle, kBytes).status();
  EXPECT_NE(status.message().find("are on different hosts"), std::string::npos);
}

}  // namespace
}  // namespace muster
