#include "launcher/cli/mpirun_flags.h"

namespace muster {
namespace {

using Flags = std::vector<ForeignFlag>;

void AddHonoured(Flags& flags) {
  const auto fate = FlagFate::kHonoured;
  const Flags honoured = {
      {{"-np", "-n", "-c"}, "N", fate, "so many ranks, on as few nodes as can hold them evenly"},
      {{"--npernode", "-N", "-ppn", "-perhost"}, "N", fate, "so many ranks on each node"},
      {{"--pernode"}, "", fate, "one rank on each node"},
      {{"--ppr"}, "N:node", fate, "so many ranks on each node"},
      {{"--npersocket"}, "N", fate, "with -np only: how many a node gets follows from it"},
      {{"--map-by"},
       "HOW",
       fate,
       "ppr:N:node: so many ranks on each node; node: over as many nodes as possible; the rest is "
       "told: consecutive ranks share a node"},
      {{"--bynode"}, "", fate, "over as many nodes as possible"},
      {{"--host", "-H", "-hosts"},
       "HOST:SLOTS,...",
       fate,
       "so many nodes, with so many ranks; their names are not looked at"},
      {{"--hostfile", "--machinefile", "--default-hostfile", "-f"},
       "FILE",
       fate,
       "as --host, from a file"},
      {{"--bind-to"}, "WHAT", fate, "muster run --bind: none, core (hwthread) or numa (socket)"},
      {{"--bind-to-core", "--bind-to-socket"}, "", fate, "as --bind-to core, --bind-to socket"},
      {{"-x"},
       "NAME[=VALUE]",
       fate,
       "in the ranks' environment; without a value: it is there anyway"},
      {{"-genv", "-env"}, "NAME VALUE", fate, "in the ranks' environment"},
      {{"--mca", "--gmca", "--omca"},
       "NAME VALUE",
       fate,
       "OMPI_MCA_NAME=VALUE in the ranks' environment; what concerns Open MPI's own launcher is "
       "told and ignored"},
      {{"--wdir", "--wd"}, "DIR", fate, "where the ranks start; muster run --workdir"},
      {{"--timeout"}, "SECONDS", fate, "muster run --time-limit"},
      {{"--max-restarts"}, "N", fate, "starts the whole job again after a failure"},
      {{"--tag-output"}, "", fate, "lines bear their rank; muster run --prefix rank"},
      {{"--timestamp-output"}, "", fate, "and their time and node; muster run --prefix full"},
      {{"--quiet", "-q"}, "", fate, "tells no flag that is ignored"},
      {{"--stdin"}, "RANK", fate, "0 or none; muster run --stdin"},
  };
  flags.insert(flags.end(), honoured.begin(), honoured.end());
}

// Rows of several flags that have one reason.
void AddIgnored(Flags& flags, const std::string& why,
                const std::vector<std::pair<std::vector<std::string>, std::string>>& rows) {
  for (const auto& [names, value] : rows) flags.push_back({names, value, FlagFate::kIgnored, why});
}

void AddOfLauncher(Flags& flags) {
  AddIgnored(flags, "muster starts the ranks itself, without Open MPI's daemons",
             {{{"--launch-agent"}, "COMMAND"},
              {{"--pmca", "--prtemca"}, "NAME VALUE"},
              {{"--personality"}, "NAME"},
              {{"--dvm"}, ""},
              {{"--hnp"}, "URI"},
              {{"--novm"}, ""},
              {{"--noprefix"}, ""},
              {{"--max-vm-size"}, "N"},
              {{"--use-regexp"}, ""},
              {{"--fwd-mpirun-port"}, ""},
              {{"--leave-session-attached"}, ""},
              {{"--enable-instant-on-support"}, ""},
              {{"--do-not-resolve"}, ""},
              {{"--debug-daemons"}, ""},
              {{"--debug-daemons-file"}, ""},
              {{"--debug-devel", "-d"}, ""},
              {{"--report-pid"}, "WHERE"},
              {{"--report-uri"}, "WHERE"},
              {{"--report-events"}, "URI"},
              {{"--ompi-server"}, "URI"},
              {{"--output-proctable"}, ""}});
}

void AddAboutPlaces(Flags& flags) {
  AddIgnored(flags, "muster gives consecutive ranks to a node",
             {{{"--rank-by"}, "HOW"},
              {{"--byslot"}, ""},
              {{"--bycore"}, ""},
              {{"--rankfile", "-rf"}, "FILE"},
              {{"--cartofile", "-cf"}, "FILE"}});
  AddIgnored(flags, "muster shares the cores out evenly; see --bind-to",
             {{{"--cpus-per-rank", "--cpus-per-proc"}, "N"},
              {{"--cpu-set", "--cpu-list"}, "LIST"},
              {{"--use-hwthread-cpus"}, ""}});
  AddIgnored(flags, "a rank takes a slot, and a cluster says how many slots its nodes have",
             {{{"--oversubscribe"}, ""}, {{"--nooversubscribe"}, ""}});
  AddIgnored(flags, "muster places ranks on every node that is free", {{{"--nolocal"}, ""}});
  AddIgnored(flags, "muster show --bind JOB draws who sits where",
             {{{"--report-bindings"}, ""},
              {{"--display-map", "--display-devel-map", "--display-diffable-map"}, ""},
              {{"--display-allocation", "--display-devel-allocation"}, ""},
              {{"--display-topo"}, ""},
              {{"--display"}, "WHAT"}});
}

void AddAboutOutput(Flags& flags) {
  AddIgnored(flags, "each rank has log files on its node, and they are streamed (muster logs JOB)",
             {{{"--output-filename"}, "PATH"},
              {{"--output"}, "HOW"},
              {{"--merge-stderr-to-stdout"}, ""},
              {{"--stream-buffering"}, "HOW"},
              {{"--xml"}, ""},
              {{"--xml-file"}, "FILE"}});
  AddIgnored(flags, "muster says what is wrong, and why JOB says more",
             {{{"--verbose", "-v"}, ""},
              {{"--show-progress"}, ""},
              {{"--report-state-on-timeout"}, ""},
              {{"--get-stack-traces"}, ""}});
}

void AddAboutRanks(Flags& flags) {
  AddIgnored(flags, "muster asks nobody's leave for that", {{{"--allow-run-as-root"}, ""}});
  AddIgnored(flags, "the ranks take over the caller's environment, PATH and LD_LIBRARY_PATH too",
             {{{"--prefix"}, "DIR"}, {{"-genvall", "-envall"}, ""}});
  AddIgnored(flags, "programs and files must lie where every node sees them",
             {{{"--preload-binary", "-s"}, ""}, {{"--preload-files"}, "FILES"}});
  AddIgnored(flags, "muster passes signals on to every rank", {{{"--forward-signals"}, "LIST"}});
  AddIgnored(flags, "a rank that fails ends the job, and its status is the job's",
             {{{"--disable-recovery"}, ""},
              {{"--continuous"}, ""},
              {{"--report-child-jobs-separately"}, ""},
              {{"--runtime-options"}, "OPTIONS"}});
}

void AddRefused(Flags& flags) {
  const auto refuse = [&flags](const std::string& words,
                               const std::vector<std::pair<std::string, std::string>>& rows) {
    for (const auto& [name, value] : rows) {
      flags.push_back({{name}, value, FlagFate::kRefused, words});
    }
  };
  refuse("muster starts one program for all ranks; give it here", {{"--app", "FILE"}});
  refuse("give its parameters as --mca NAME VALUE", {{"--tune", "FILE"}, {"-am", "FILE"}});
  refuse("say it with -x PATH=...", {{"--path", "PATH"}});
  refuse("a rank that fails ends the job; see --max-restarts",
         {{"--enable-recovery", ""}, {"--with-ft", "TYPE"}});
  refuse("muster starts no debugger and no window; attach to a rank on its node",
         {{"--debug", ""}, {"--debugger", "NAME"}, {"-tv", ""}, {"--xterm", "RANKS"}});
  refuse("`muster plan JOB.yaml` says where a job would run", {{"--do-not-launch", ""}});
  refuse("every rank gets the same arguments; use $RANK in a script",
         {{"--index-argv-by-rank", ""}});
  refuse("say --wdir DIR", {{"--set-cwd-to-session-dir", ""}});
  refuse("that is `muster --version`", {{"--version", ""}, {"-V", ""}});
}

}  // namespace

const ForeignLauncher& Mpirun() {
  static const ForeignLauncher kMpirun = [] {
    ForeignLauncher launcher = {
        .verb = "mpirun",
        .dashes = Dashes::kOpenMpi,
        .program = "PROGRAM [ARGUMENTS...]",
        .example = "muster mpirun -np 16 --map-by ppr:8:node -x LR=0.1 python3 train.py",
        .about = "Runs PROGRAM as Open MPI's mpirun would.  Long flags take one dash or two.",
        .flags = {},
    };
    AddHonoured(launcher.flags);
    for (ForeignFlag& own : OwnFlags()) launcher.flags.push_back(std::move(own));
    AddAboutPlaces(launcher.flags);
    AddAboutOutput(launcher.flags);
    AddAboutRanks(launcher.flags);
    AddOfLauncher(launcher.flags);
    AddRefused(launcher.flags);
    return launcher;
  }();
  return kMpirun;
}

bool IsOfMpiLauncher(const std::string& parameter) {
  for (const char* prefix :
       {"dfs_",  "errmgr_",   "ess_",    "filem_", "grpcomm_", "hwloc_base_binding_policy",
        "iof_",  "notifier_", "odls_",   "oob_",   "orte_",    "plm_",
        "prte_", "ras_",      "regx_",   "rmaps_", "rml_",     "routed_",
        "rtc_",  "schizo_",   "sensor_", "state_"}) {
    if (parameter.rfind(prefix, 0) == 0) return true;
  }
  return false;
}

}  // namespace muster
