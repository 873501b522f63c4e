#include "launcher/cli/ckpt_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "launcher/cli/duration.h"
#include "launcher/cli/option_checks.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/keep_rules.h"

namespace muster {
namespace {

const std::vector<std::string> kActions = {"ls",  "show",  "verify", "gc",  "export",
                                           "pin", "unpin", "adopt",  "drop"};

// "800000", "5G", "500MB": bytes, by thousands.
std::optional<std::uint64_t> ParseSize(std::string text) {
  const std::map<char, std::uint64_t> units = {
      {'K', 1'000}, {'M', 1'000'000}, {'G', 1'000'000'000}, {'T', 1'000'000'000'000}};
  if (text.ends_with('B')) text.pop_back();
  std::uint64_t unit = 1;
  if (!text.empty() && units.contains(text.back())) {
    unit = units.at(text.back());
    text.pop_back();
  }
  const auto number = ParseUnsigned(text);
  if (!number || *number == 0 || *number > 1'000'000'000'000'000 / unit) return std::nullopt;
  return *number * unit;
}

}  // namespace

void AddCkptOptions(CLI::App& app, CkptCommand& ckpt) {
  app.add_option("ACTION", ckpt.action,
                 "ls: runs and commits.  show: what a commit holds.  verify: read it all, check "
                 "every CRC.  gc: remove what nothing needs.  export: write a folder as Hugging "
                 "Face has them.  pin, unpin: keep a commit for ever, or no longer.  adopt: commit "
                 "a save that is complete and was never committed.  drop: remove one commit, "
                 "such as a damaged one, so that the one before it is the newest")
      ->required()
      ->check(CLI::IsMember(kActions));
  app.add_option("STORE", ckpt.store, "The store: a folder, or nfs://HOST/EXPORT")->required();
  app.add_option("RUN", ckpt.run, "Only this run (show JOB names a job's run id)");
  app.add_option("--commit", ckpt.commit, "Which one, as ls names it, such as g1-s20 (the newest)");
  app.add_option("--tensor", ckpt.tensors,
                 "show, verify, export: only tensors of such names, with * and ?; may be repeated")
      ->type_name("PATTERN")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  auto* deep = app.add_flag("--deep", ckpt.deep, "verify: every byte (so it does without)");
  app.add_flag("--quick", ckpt.quick,
               "verify: of each file only its size, its header, its first and last MiB")
      ->excludes(deep);
  app.add_flag("--dry-run", ckpt.dry_run, "gc: say what would go, and why the others stay");
  app.add_option("--keep", ckpt.keep,
                 "gc: let commits go, too, but for these: last=N,every=6h,best=N,metric=NAME,"
                 "better=lower or higher")
      ->type_name("RULES")
      ->check([](const std::string& rules) {
        return checkpoint::ParseKeepRules(rules).status().message();
      });
  app.add_option("--out", ckpt.out, "export: the folder to write; new or empty")->type_name("DIR");
  app.add_option_function<std::string>(
         "--max-shard-size",
         [&ckpt](const std::string& text) { ckpt.max_shard_bytes = *ParseSize(text); },
         "export: bytes of tensors in one file, such as 500M or 2G (5G)")
      ->type_name("SIZE")
      ->check([](const std::string& text) {
        return std::string(ParseSize(text) ? ""
                                           : "'" + text +
                                                 "' is no size; give bytes, or a number with K, M, "
                                                 "G or T, such as 5G");
      });
  app.add_option_function<std::string>(
         "--for",
         [&ckpt](const std::string& text) {
           ckpt.lease_ms = static_cast<std::uint32_t>(ParseDuration(text)->count());
         },
         "pin: only for so long (for ever)")
      ->type_name("TIME")
      ->check(CheckDuration)
      ->check([](const std::string& text) {
        const auto time = ParseDuration(text);
        return std::string(time.ok() && time->count() == 0
                               ? "is no time; leave --for out to pin it for ever"
                               : "");
      });
  app.add_option("--reason", ckpt.reason, "pin: for people")->type_name("TEXT");
}

std::string CheckCkpt(const CkptCommand& ckpt) {
  struct Use {
    const char* option;
    bool given;
    std::vector<std::string> of;
  };
  const CkptCommand none;
  const Use uses[] = {
      {"--commit",
       !ckpt.commit.empty(),
       {"show", "verify", "export", "pin", "unpin", "adopt", "drop"}},
      {"--tensor", !ckpt.tensors.empty(), {"show", "verify", "export"}},
      {"--deep", ckpt.deep, {"verify"}},
      {"--quick", ckpt.quick, {"verify"}},
      {"--dry-run", ckpt.dry_run, {"gc"}},
      {"--keep", !ckpt.keep.empty(), {"gc"}},
      {"--out", !ckpt.out.empty(), {"export"}},
      {"--max-shard-size", ckpt.max_shard_bytes != none.max_shard_bytes, {"export"}},
      {"--for", ckpt.lease_ms != 0, {"pin"}},
      {"--reason", !ckpt.reason.empty(), {"pin"}}};
  for (const Use& use : uses) {
    if (!use.given || std::count(use.of.begin(), use.of.end(), ckpt.action) > 0) continue;
    return std::string(use.option) + " goes with " + Join(use.of, ", ") + "; not with " +
           ckpt.action;
  }
  const std::vector<std::string> of_one_run = {"export", "pin", "unpin", "adopt", "drop"};
  const bool one = std::count(of_one_run.begin(), of_one_run.end(), ckpt.action) > 0;
  if (ckpt.run.empty() && (one || !ckpt.commit.empty())) {
    return "RUN is missing: " + (one ? ckpt.action : "--commit") +
           " needs one run; `muster ckpt ls STORE` names them";
  }
  if (ckpt.action == "export" && ckpt.out.empty()) {
    return "--out is missing: the folder to write, such as --out /data/model";
  }
  if ((ckpt.action == "adopt" || ckpt.action == "drop") && ckpt.commit.empty()) {
    return "--commit is missing: which one, as `muster ckpt ls` names it, such as g1-s20";
  }
  return "";
}

}  // namespace muster
