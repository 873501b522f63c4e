// What `muster ckpt` takes: actions and their options.  Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/cli/common_options.h"

namespace CLI {  // NOLINT(readability-identifier-naming): it is CLI11's.
class App;
}

namespace muster {

// Looks after checkpoints, without a cluster.
struct CkptCommand {
  Common common;       // `cluster` is not used.
  std::string action;  // One of kCkptActions.
  std::string store, run;
  std::string commit;                // Such as "g1-s20"; empty: the newest.
  std::vector<std::string> tensors;  // Patterns.
  std::string keep;                  // Rules; empty: gc lets no commit go.
  std::string out;
  std::string reason;
  std::uint64_t max_shard_bytes = 5'000'000'000;
  std::uint32_t lease_ms = 0;  // Of a pin; 0: for ever.
  bool deep = false, quick = false, dry_run = false;
};

inline constexpr char kCkptExamples[] =
    "muster ckpt ls /nfs/checkpoints\n"
    "  muster ckpt show STORE RUN --tensor 'wte*'\n"
    "  muster ckpt verify 'nfs://10.0.0.5/export' RUN --commit g1-s200\n"
    "  muster ckpt gc STORE RUN --keep last=3,every=6h,best=2,metric=loss_ema --dry-run\n"
    "  muster ckpt export STORE RUN --out /data/model --max-shard-size 2G\n"
    "  muster ckpt pin STORE RUN --commit g1-s200 --reason 'goes into the paper'\n"
    "  muster ckpt adopt STORE RUN --commit g1-s250\n"
    "  muster ckpt drop STORE RUN --commit g1-s250\n";

void AddCkptOptions(CLI::App& app, CkptCommand& ckpt);
// What is wrong with the options together, or empty.
std::string CheckCkpt(const CkptCommand& ckpt);

}  // namespace muster
