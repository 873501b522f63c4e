#include "launcher/cli/mpirun_line.h"

#include <algorithm>
#include <cctype>

#include "launcher/cli/mpirun_flags.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::uint32_t kMostRanks = 1'000'000;
constexpr std::uint32_t kMostPerNode = 100'000;
constexpr std::uint32_t kLongestSeconds = 4'000'000;  // 46 days.

constexpr const char* kHostsNote =
    ": only how many nodes and slots it names counts; muster picks the nodes";

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool IsHere(const std::string& host) {
  const std::string name = host.substr(0, host.find(':'));
  return name == "localhost" || name == "127.0.0.1";
}

class Translation {
 public:
  Translation() {
    run_.job.max_restarts = 0;
    run_.job.never.clear();
    run_.wish.emplace();
    run_.job.launch.contracts = {"openmpi"};  // What mpirun's own ranks find.
  }

  Status Take(const FlagUse& use, const std::string& name) {
    const std::string value = use.values.empty() ? "" : use.values[0];
    if (name == "-np") return Number(use, value, kMostRanks, run_.wish->ranks);
    if (name == "--npernode") return Number(use, value, kMostPerNode, run_.wish->ranks_per_node);
    if (name == "--pernode") run_.wish->ranks_per_node = 1;
    if (name == "--ppr") return PerResource(use, value);
    if (name == "--npersocket") return PerResource(use, value + ":socket");
    if (name == "--map-by") return MapBy(use, value);
    if (name == "--bynode") run_.wish->spread = true;
    if (name == "--host") return HostList(use, value);
    if (name == "--hostfile") {
      run_.wish->hostfile = value;
      notes_.push_back(use.spelled + kHostsNote);
    }
    if (name == "--bind-to") return BindTo(use, value);
    if (name == "--bind-to-core")
      return BindTo(use, Lower(use.spelled).substr(use.spelled.rfind('-') + 1));
    return TakeOfRanks(use, name, value);
  }

  Result<RunCommand> Finish(const std::vector<std::string>& program) {
    if (program.empty() || program[0].empty()) {
      return Status(Code::kInvalid,
                    "no program; put it after the flags, such as: " + Mpirun().example);
    }
    if (std::find(program.begin(), program.end(), ":") != program.end()) {
      return Status(Code::kInvalid,
                    "':' begins a second program, but muster starts one program for all ranks; "
                    "start a script that chooses by $RANK");
    }
    if (!of_resource_.empty() && run_.wish->ranks == 0 && run_.wish->ranks_per_node == 0) {
      return Status(Code::kInvalid, of_resource_ +
                                        ": muster counts ranks by node; say -np as "
                                        "well, or ppr:N:node");
    }
    if (!of_resource_.empty())
      notes_.push_back(of_resource_ + ": muster counts ranks by node; ignored");
    const bool anything = run_.wish->ranks != 0 || run_.wish->ranks_per_node != 0 ||
                          run_.wish->hosts_named || !run_.wish->hostfile.empty();
    if (!anything) run_.fill = SlotFill::kCpus;
    if (!of_launcher_.empty()) {
      notes_.push_back("--mca " + Join(of_launcher_, ", ") +
                       ": muster starts the ranks itself, without Open MPI's daemons; ignored");
    }
    run_.job.command = program;
    return run_;
  }

  std::vector<std::string> Notes(const ForeignLine& line) const {
    if (quiet_) return {};
    std::vector<std::string> notes = IgnoredNotes(Mpirun(), line);
    notes.insert(notes.end(), notes_.begin(), notes_.end());
    return notes;
  }

 private:
  // What the ranks get, wherever they are.
  Status TakeOfRanks(const FlagUse& use, const std::string& name, const std::string& value) {
    if (name == "-x") return Export(use, value);
    if (name == "-genv") run_.job.environment.push_back(value + "=" + use.values[1]);
    if (name == "--mca" && IsOfMpiLauncher(value)) of_launcher_.push_back(value);
    if (name == "--mca" && !IsOfMpiLauncher(value)) {
      run_.job.environment.push_back("OMPI_MCA_" + value + "=" + use.values[1]);
    }
    if (name == "--wdir") run_.job.workdir = value;
    if (name == "--stdin") return Stdin(use, value);
    if (name == "--max-restarts") {
      const auto restarts = FlagNumber(use, value, 0, kMostRanks);
      if (!restarts.ok()) return restarts.status();
      run_.job.max_restarts = *restarts;
    }
    if (name == "--timeout") {
      const auto seconds = FlagNumber(use, value, 0, kLongestSeconds);
      if (!seconds.ok()) return seconds.status();
      run_.job.time_limit_ms = *seconds * 1000;
    }
    if (name == "--tag-output") run_.show.prefix = Prefix::kRank;
    if (name == "--timestamp-output") run_.show.prefix = Prefix::kFull;
    if (name == "--quiet") quiet_ = true;
    if (name == "--cluster") run_.common.cluster = value;
    if (name == "--json") run_.common.json = true;
    return {};
  }

  static Status Number(const FlagUse& use, const std::string& value, std::uint32_t most,
                       std::uint32_t& out) {
    const auto number = FlagNumber(use, value, 1, most);
    if (!number.ok()) return number.status();
    out = *number;
    return {};
  }

  // "4:node", and what may follow.
  Status PerResource(const FlagUse& use, const std::string& value) {
    const std::vector<std::string> words = Split(Lower(value), ':');
    const auto count = ParseUnsigned(words[0]);
    if (words.size() < 2 || !count || *count == 0 || *count > kMostPerNode) {
      return Status(Code::kInvalid,
                    use.spelled + ": ranks for each node are N:node; found '" + value + "'");
    }
    if (words[1] == "node") {
      run_.wish->ranks_per_node = static_cast<std::uint32_t>(*count);
      if (words.size() > 2) {
        notes_.push_back(use.spelled + " " + use.values[0] +
                         ": muster shares a node's cores out evenly among its ranks");
      }
    } else {
      of_resource_ = use.spelled + " " + use.values[0];
    }
    return {};
  }

  Status MapBy(const FlagUse& use, const std::string& value) {
    const std::string how = Lower(value);
    const std::vector<std::string> words = Split(how, ':');
    if (words[0] == "ppr")
      return PerResource(use, how.substr(std::min(how.size(), std::size_t{4})));
    static const std::vector<std::string> kKnown = {
        "",     "slot",   "node",    "hwthread", "core", "l1cache", "l2cache",  "l3cache",
        "numa", "socket", "package", "board",    "dist", "seq",     "rankfile", "pe-list"};
    if (std::find(kKnown.begin(), kKnown.end(), words[0]) == kKnown.end()) {
      return Status(Code::kInvalid,
                    use.spelled + " takes slot, node, core, socket, numa or ppr:N:node; found '" +
                        value + "'");
    }
    if (words[0] == "node") run_.wish->spread = true;
    if (how != "slot" && how != "node") {
      notes_.push_back(
          use.spelled + " " + value +
          ": muster gives consecutive ranks to a node and shares its cores out evenly" +
          (words[0] == "node" ? "" : "; ignored"));
    }
    return {};
  }

  Status HostList(const FlagUse& use, const std::string& value) {
    const auto hosts = ParseHostList(value);
    if (!hosts.ok()) {
      return Status(Code::kInvalid, use.spelled + ": " + hosts.status().message());
    }
    ShapeWish& wish = *run_.wish;
    wish.hosts_named = true;
    wish.hosts.insert(wish.hosts.end(), hosts->begin(), hosts->end());
    if (IsHere(value) && hosts->size() == 1) return {};
    notes_.push_back(use.spelled + kHostsNote);
    return {};
  }

  Status BindTo(const FlagUse& use, const std::string& value) {
    const std::string what = Split(Lower(value), ':')[0];
    const auto is = [&what](std::initializer_list<const char*> words) {
      return std::find(words.begin(), words.end(), what) != words.end();
    };
    if (is({"none"})) {
      run_.job.launch.bind = Bind::kNone;
    } else if (is({"core", "hwthread", "l1cache", "l2cache"})) {
      run_.job.launch.bind = Bind::kCore;
    } else if (is({"numa", "socket", "package", "l3cache", "board"})) {
      run_.job.launch.bind = Bind::kNuma;
    } else {
      return Status(Code::kInvalid,
                    use.spelled +
                        " takes none, core, hwthread, l1cache, l2cache, l3cache, socket, "
                        "package, numa or board; found '" +
                        value + "'");
    }
    if (!is({"none", "core", "numa"})) {
      notes_.push_back(use.spelled + " " + value + ": becomes --bind-to " +
                       (run_.job.launch.bind == Bind::kCore ? "core" : "numa"));
    }
    return {};
  }

  Status Stdin(const FlagUse& use, const std::string& value) {
    if (value != "0" && value != "none") {
      return Status(Code::kInvalid,
                    use.spelled + ": rank 0 alone can read stdin; allowed are 0 and none, found '" +
                        value + "'");
    }
    run_.input = value == "0" ? RunInput::kRank0 : RunInput::kNone;
    return {};
  }

  Status Export(const FlagUse& use, const std::string& value) {
    if (value.empty() || value[0] == '=') {
      return Status(Code::kInvalid,
                    use.spelled + " takes NAME or NAME=VALUE; found '" + value + "'");
    }
    if (value.find('=') != std::string::npos) run_.job.environment.push_back(value);
    return {};
  }

  RunCommand run_;
  std::vector<std::string> notes_;
  std::vector<std::string> of_launcher_;  // MCA parameters.
  std::string of_resource_;               // A flag that counts ranks by something smaller.
  bool quiet_ = false;
};

}  // namespace

Parsed ParseMpirunLine(const std::vector<std::string>& arguments) {
  return Translate<Translation>(Mpirun(), arguments);
}

}  // namespace muster
