// Writing to the caller, and connecting to a cluster for it.  Any thread.
#pragma once

#include <string>
#include <string_view>

#include "launcher/cli/client_grpc.h"
#include "launcher/cli/cluster_dir_posix.h"
#include "launcher/cli/command_line.h"

namespace muster {

// All of it, also when the descriptor is non-blocking; kUnavailable when nobody reads any more.
Status WriteOut(int fd, std::string_view bytes);

void Print(const std::string& text);     // To stdout.
void Complain(const std::string& text);  // To stderr.

bool IsTerminal(int fd);
// Of the caller's time zone, now.
std::int64_t UtcOffsetSeconds();

// Says what failed, as text or JSON, and returns the exit status for it.
int Fail(const Status& failure, bool json);
int Fail(const Status& failure, bool json, int exit);

// How to reach the coordinator of a cluster of this host.
Result<ClientConfig> ClientConfigOf(const std::string& state);

// ChooseCluster and ClientConfigOf; a cluster that is not there is kUnavailable.
Result<ClientConfig> FindClient(const Common& common);

}  // namespace muster
