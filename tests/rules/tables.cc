#include "tests/rules/law.h"

namespace muster::rules {

const std::vector<Pardon>& Pardons() {
  static const std::vector<Pardon> kPardons = {
      {"runtime/base/check.h", "ban", "fprintf(", "CHECK names the broken promise as it dies"},
      {"runtime/base/check.h", "ban", "abort(", "CHECK is where our own bugs end"},
      {"runtime/base/mutex.h", "world", "threads", "the one annotated wrapper, for rim files only"},
      {"runtime/base/link.h", "size", "lines", "one message after another, read as a table"},
      {"runtime/comm/process_group.h", "ban", "abort(", "the field's word for ending a group"},
      {"runtime/train/read_once.cc", "ban", "abort(", "ProcessGroup::abort, as above"},
      {"runtime/train/trainer.cc", "ban", "abort(", "ProcessGroup::abort, as above"},
      {"examples/c_mpi/hello_mpi.c", "world", "<time.h>", "plain C; MPI_Wtime has its own origin"},
      {"examples/c_mpi/hello_mpi.c", "ban", "clock_gettime(", "plain C, it has no Clock of ours"},
  };
  return kPardons;
}

// proto is no arrow: *_grpc and *_proto files of launcher/ may include it (Worlds, JudgeCmake).
const std::map<std::string, std::vector<std::string>>& Arrows() {
  static const std::map<std::string, std::vector<std::string>> kArrows = {
      {"runtime/base", {}},
      {"runtime/gpu", {"runtime/base"}},
      {"runtime/comm", {"runtime/base", "runtime/gpu"}},
      {"runtime/checkpoint", {"runtime/base"}},
      {"runtime/train", {"runtime/comm", "runtime/checkpoint"}},
      {"runtime/client", {"runtime/checkpoint"}},
      {"examples/*", {"runtime/train", "runtime/client"}},
      {"launcher/placement", {"runtime/base"}},
      {"launcher/coordinator", {"runtime/base", "launcher/placement"}},
      {"launcher/agent", {"runtime/base"}},
      {"launcher/jobd", {"runtime/base"}},
      {"launcher/mover", {"runtime/base", "runtime/checkpoint"}},
      {"launcher/cli", {"runtime/base", "runtime/checkpoint", "runtime/comm"}},
      {"launcher",  // main.cc, the one file that knows every part.
       {"launcher/placement", "launcher/coordinator", "launcher/agent", "launcher/jobd",
        "launcher/mover", "launcher/cli"}},
  };
  return kArrows;
}

const std::vector<std::string>& RimEndings() {
  static const std::vector<std::string> kEndings = {
      "grpc", "proto", "yaml", "posix", "threads", "event", "sqlite",  "pmix", "mpi",
      "nccl", "cuda",  "blas", "nfs",   "nvml",    "hwloc", "openssl", "main"};
  return kEndings;
}

namespace {

// The kernel's and libc's own headers go with every loop that waits on descriptors.
const std::vector<std::string> kSystem = {"posix", "event", "pmix", "nfs", "main"};
const std::vector<std::string> kThreads = {"threads", "posix", "grpc", "main"};

}  // namespace

const std::vector<World>& Worlds() {
  static const std::vector<World> kWorlds = {
      {"grpc.pb.h", {"grpc"}},
      {".pb.h", {"grpc", "proto"}},
      {"<google/protobuf/", {"grpc", "proto"}},
      {"<grpc/", {"grpc"}},
      {"<grpcpp/", {"grpc"}},
      {"<absl/", {"grpc"}},
      {"<yaml-cpp/", {"yaml"}},
      {"<event2/", {"event"}},
      {"<openssl/", {"openssl", "event"}},
      {"<sqlite3.h>", {"sqlite"}},
      {"<pmix", {"pmix"}},
      {"<mpi.h>", {"mpi"}},
      {"<nccl.h>", {"nccl"}},
      {"<cuda", {"cuda", "nccl"}},
      {"<cublas", {"cuda"}},
      {"<nvml.h>", {"nvml"}},
      {"<hwloc", {"hwloc"}},
      {"<cblas", {"blas"}},
      {"<nfsc/", {"nfs"}},
      {"<ncurses.h>", {"posix", "main"}},
      {"<thread>", kThreads},
      {"<future>", kThreads},
      {"<mutex>", kThreads},
      {"<shared_mutex>", kThreads},
      {"<condition_variable>", kThreads},
      {"<stop_token>", kThreads},
      {"<semaphore>", kThreads},
      {"<latch>", kThreads},
      {"<barrier>", kThreads},
      {"<pthread.h>", kThreads},
      {"<filesystem>", {"posix", "main"}},
      {"<fstream>", {"posix", "main"}},
      {"<iostream>", {"posix", "main"}},
      {"<csignal>", kSystem},
      {"<signal.h>", kSystem},
      {"<unistd.h>", kSystem},
      {"<elf.h>", kSystem},
      {"<fcntl.h>", kSystem},
      {"<poll.h>", kSystem},
      {"<dirent.h>", kSystem},
      {"<pwd.h>", kSystem},
      {"<grp.h>", kSystem},
      {"<sched.h>", kSystem},
      {"<spawn.h>", kSystem},
      {"<termios.h>", kSystem},
      {"<time.h>", kSystem},
      {"<dlfcn.h>", {"posix", "nccl", "cuda", "nvml", "main"}},
      {"<ifaddrs.h>", kSystem},
      {"<link.h>", kSystem},
      {"<netdb.h>", kSystem},
      {"<sys/", kSystem},
      {"<linux/", kSystem},
      {"<net/", kSystem},
      {"<netinet/", kSystem},
      {"<arpa/", kSystem},
  };
  return kWorlds;
}

namespace {

const std::vector<std::string> kPureHeaders = {
    "<algorithm>",
    "<any>",
    "<array>",
    "<atomic>",
    "<bit>",
    "<bitset>",
    "<cassert>",
    "<cctype>",
    "<cerrno>",
    "<cfloat>",
    "<charconv>",
    "<chrono>",
    "<cinttypes>",
    "<climits>",
    "<cmath>",
    "<compare>",
    "<complex>",
    "<concepts>",
    "<cstdarg>",
    "<cstddef>",
    "<cstdint>",
    "<cstdio>",
    "<cstdlib>",
    "<cstring>",
    "<ctime>",
    "<deque>",
    "<exception>",
    "<forward_list>",
    "<functional>",
    "<initializer_list>",
    "<iomanip>",
    "<ios>",
    "<iosfwd>",
    "<istream>",
    "<iterator>",
    "<limits>",
    "<list>",
    "<locale>",
    "<map>",
    "<memory>",
    "<memory_resource>",
    "<new>",
    "<numbers>",
    "<numeric>",
    "<optional>",
    "<ostream>",
    "<queue>",
    "<random>",
    "<ranges>",
    "<ratio>",
    "<regex>",
    "<set>",
    "<source_location>",
    "<span>",
    "<sstream>",
    "<stack>",
    "<stdexcept>",
    "<streambuf>",
    "<string>",
    "<string_view>",
    "<system_error>",
    "<tuple>",
    "<type_traits>",
    "<typeindex>",
    "<typeinfo>",
    "<unordered_map>",
    "<unordered_set>",
    "<utility>",
    "<valarray>",
    "<variant>",
    "<vector>",
    "<version>",
    "<errno.h>",
    "<inttypes.h>",
    "<limits.h>",
    "<math.h>",
    "<stdbool.h>",
    "<stdarg.h>",
    "<stddef.h>",
    "<stdint.h>",
    "<stdio.h>",
    "<stdlib.h>",
    "<string.h>",
    "<immintrin.h>",
    "<CLI/",
    "<isa-l",
    "<nlohmann/",
};

}  // namespace

const std::vector<std::string>& PureHeaders() {
  return kPureHeaders;
}

const std::vector<Ban>& Bans() {
  static const std::vector<Ban> kBans = {
      // Time, chance and the environment come in as values.
      {"::now(",
       "a Clock (runtime/base/clock.h)",
       false,
       {"runtime/base/clock_posix.cc", "tests/integration/", "tests/bench/"}},
      {"time(nullptr)", "a Clock (runtime/base/clock.h)", false, {}},
      {"clock_gettime(",
       "a Clock (runtime/base/clock.h)",
       false,
       {"runtime/base/clock_posix.cc", "runtime/client/channel_posix.c", "tests/integration/",
        "tests/bench/"}},
      {"getenv(",
       "GetEnv (runtime/base/env_posix.h)",
       false,
       {"runtime/base/env_posix.cc", "runtime/client/environment_posix.c", "tests/"}},
      {"secure_getenv(", "GetEnv (runtime/base/env_posix.h)", false, {}},
      {"environ",
       "Environment (runtime/base/env_posix.h)",
       false,
       {"runtime/base/env_posix.cc", "tests/"}},
      {"RealClock(", "a Clock or a TimePoint that is handed in", true, {"runtime/base/clock.h"}},
      {"random_device",
       "a seed that is handed in",
       false,
       {"tests/unit/", "tests/fuzz/", "tests/integration/", "tests/bench/"}},
      {"rand(", "a seeded engine of <random>", false, {}},
      {"srand(", "a seeded engine of <random>", false, {}},
      // Nobody sleeps: wait for the event.
      {"sleep_for(", "an event with a deadline", false, {"tests/integration/", "tests/bench/"}},
      {"sleep_until(", "an event with a deadline", false, {"tests/integration/", "tests/bench/"}},
      {"sleep(", "an event with a deadline", false, {"tests/integration/", "tests/bench/"}},
      {"usleep(", "an event with a deadline", false, {"tests/integration/", "tests/bench/"}},
      {"nanosleep(", "an event with a deadline", false, {"tests/integration/", "tests/bench/"}},
      // A core file does no I/O and ends no process.
      {"std::cin", "a value that is handed in", true, {}},
      {"std::cout", "a value that is handed back", true, {}},
      {"std::cerr", "a Status, or Log in the rim", true, {}},
      {"std::clog", "a Status, or Log in the rim", true, {}},
      {"printf(", "a value that is handed back", true, {}},
      {"fprintf(", "a Status, or Log in the rim", true, {}},
      {"puts(", "a value that is handed back", true, {}},
      {"fputs(", "a value that is handed back", true, {}},
      {"fopen(", "a rim file", true, {}},
      {"system(", "a rim file, and posix_spawn there", true, {}},
      {"exit(", "a Status", true, {}},
      {"_exit(", "a Status", true, {}},
      {"abort(", "CHECK", true, {}},
      {"Log(", "facts that the loop logs", true, {"runtime/base/log.h"}},
      // One failure idiom, one mutex, no shortcuts.
      {"std::mutex", "muster::Mutex", false, {"runtime/base/mutex.h"}},
      {"std::lock_guard", "muster::MutexLock", false, {"runtime/base/mutex.h"}},
      {"throw", "a Status", false, {}},
      {"using namespace", "the names themselves", false, {}},
      {"assert(", "CHECK", false, {}},
  };
  return kBans;
}

}  // namespace muster::rules
