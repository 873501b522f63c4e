// rank_exec SOCKET RANKS_PER_NODE ATTEMPT PROGRAM ARGS...: makes a rank that mpirun started look as
// if muster had, on a made-up node, with a link to the FakeJobd that listens on SOCKET.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "runtime/base/check.h"
#include "runtime/base/env_posix.h"

int main(int argc, char** argv) {
  CHECK(argc > 4);
  const std::string path = argv[1];
  const int per_node = std::stoi(argv[2]);
  const int rank = std::stoi(muster::GetEnv("OMPI_COMM_WORLD_RANK").value_or("-1"));
  const int size = std::stoi(muster::GetEnv("OMPI_COMM_WORLD_SIZE").value_or("0"));
  CHECK(rank >= 0 && per_node > 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  CHECK(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  CHECK(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  const auto set = [](const char* name, int value) { muster::SetEnv(name, std::to_string(value)); };
  set("MUSTER_RANK", rank);
  set("MUSTER_WORLD_SIZE", size);
  set("MUSTER_LOCAL_RANK", rank % per_node);
  set("MUSTER_LOCAL_WORLD_SIZE", per_node);
  set("MUSTER_NODE_RANK", rank / per_node);
  set("MUSTER_NUM_NODES", size / per_node);
  set("MUSTER_LINK_FD", fd);
  set("MUSTER_LINK_TOKEN", rank);
  muster::SetEnv("MUSTER_ATTEMPT", argv[3]);
  execv(argv[4], argv + 4);
  return 127;
}
