// What the actions of `muster ckpt` share, and those that change a store.  One thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "launcher/cli/ckpt_options.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/store.h"

namespace muster::ckpt {

using Json = nlohmann::ordered_json;

// The store, and what of it is meant.
struct At {
  checkpoint::Store& store;
  const CkptCommand& command;
  std::vector<std::string> runs;
};

std::string Dump(const Json& json);
// "g1-s20", and back.
std::string NameOf(const checkpoint::CommitId& commit);
std::string NameOf(const std::string& run, const checkpoint::CommitId& commit);
Result<checkpoint::CommitId> ParseName(const std::string& name);

// The commit that is meant of each run: the one that the command names, else the newest; runs
// without any are left out.  Whether it is there is seen when it is read.
Result<std::vector<std::pair<std::string, checkpoint::CommitId>>> Meant(const At& at);

std::int64_t NowMs();
// Tells a terminal how far long work is: "verify: 1.0 GiB of 7.5 GiB".  Nothing with --json.
class Progress {
 public:
  Progress(const CkptCommand& command, std::string what);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  void Tell(std::uint64_t bytes, std::uint64_t of);

 private:
  const std::string what_;
  const bool shown_;
};

// Keeps a commit while somebody reads it, if the store takes writes.  For an hour at most.
class Lease {
 public:
  Lease(checkpoint::Store& store, std::string run, checkpoint::CommitId commit);
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease();

 private:
  checkpoint::Store& store_;
  const std::string run_;
  std::string path_;
};

int Gc(const At& at);
int Export(const At& at);
int Pin(const At& at);
int Unpin(const At& at);
int Drop(const At& at);
int Adopt(const At& at);

}  // namespace muster::ckpt
