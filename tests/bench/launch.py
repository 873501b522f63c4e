"""./dev bench launch: from the command to its exit, on a cluster that is up, two hosts in namespaces.

Each command finds the cluster idle: --pause seconds lie before it, on both sides, so that neither
pays for what the last one left to be done.  Against mpirun, whose daemons start through an exec
helper instead of ssh, against srun where Slurm's packages are there, and against torchrun where
PyTorch is.  Both sides in turn, medians of --runs.  Needs root (namespaces).
"""

import argparse
import os
import re
import shutil
import stat
import statistics
import sys
import tempfile
import time

from common import BIN, Table, in_turn, timed
from cluster import Cluster
from hosts import Hosts
from slurm import Slurm
from torchrun import Torchrun

LEAN = {"OMPI_MCA_pml": "ob1", "HWLOC_COMPONENTS": "-pci,-linuxio",
        "HWLOC_PLUGINS_PATH": "/dev/null"}
SAME = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl_tcp_if_include": "eth0"}


def exec_helper(hosts, folder):
    """mpirun's plm_rsh_agent: `helper HOST COMMAND...` runs the command in that namespace."""
    path = os.path.join(folder, "exec_helper")
    with open(path, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nhost=$1; shift\ncase $host in\n")
        for index, holder in hosts.holders.items():
            file.write(f"{hosts.address(index)}) pid={holder.pid};;\n")
        file.write("esac\nexec nsenter -t $pid -n -u -- sh -c \"$*\"\n")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return path


class Bench:
    def __init__(self, hosts, cluster, folder, pause):
        self.hosts, self.cluster, self.folder, self.pause = hosts, cluster, folder, pause
        self.helper = exec_helper(hosts, folder)

    def _run(self, command, environment, mpi):
        """(whole command, last rank in main), seconds since the command began.  `mpi`: how many ranks
        say when they were in main; 0 for a program that does not."""
        time.sleep(self.pause)
        took, began, output = timed(self.hosts.command(-1, command),
                                    env={**os.environ, **environment})
        if not mpi:
            return took, 0.0
        in_main = [float(time) for time in re.findall(r"\(main ([0-9.]+),", output)]
        if len(in_main) != mpi or f" of {mpi}, " not in output:
            raise RuntimeError(f"not {mpi} ranks:\n{output}")
        return took, max(in_main) - began

    def muster(self, ranks, program, mpi, extra):
        command = [os.path.join(BIN, "muster"), "run", "--cluster", self.cluster.folder, "-N", "2",
                   "--ranks-per-node", str(ranks), "--"] + program
        return lambda: self._run(command, extra, 2 * ranks if mpi else 0)

    def mpirun(self, ranks, program, mpi, extra):
        passed = [option for name in extra for option in ("-x", name)]
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe",
                   "--mca", "plm_rsh_agent", self.helper, "--mca", "plm_rsh_no_tree_spawn", "1",
                   "--mca", "oob_tcp_if_include", "eth0", "--mca", "btl_tcp_if_include", "eth0",
                   "--host", ",".join(f"{self.hosts.address(i)}:{ranks}" for i in range(2)),
                   ] + passed + ["-n", str(2 * ranks)] + program
        return lambda: self._run(command, extra, 2 * ranks if mpi else 0)

    def srun(self, slurm, ranks, program):
        command = ["srun", "--mpi=none", "-N2", f"-n{2 * ranks}", f"--ntasks-per-node={ranks}"]
        return lambda: self._run(command + program, slurm.environment, 0)


def add(table, case, sides, index, peer, asked, **more):
    ours = [result[index] for result in sides[0]]
    theirs = [result[index] for result in sides[1]]
    table.add(case, "s", ours, theirs, peer, asked, **more)


def trivial(bench, table, runs, slurm):
    program = ["/bin/true"]
    mine = bench.muster(4, program, False, {})
    sides = in_turn(runs, [mine, bench.mpirun(4, program, False, {})])
    add(table, "trivial-2x4", sides, 0, "mpirun", 0.7)
    if slurm is None:
        print("skipped: srun (Slurm is not installed: apt-get install slurm-wlm munge)")
        return
    sides = in_turn(runs, [mine, bench.srun(slurm, 4, program)])
    add(table, "trivial-2x4", sides, 0, "srun", 0.8)


def without_mpi(bench, table, options):
    if options.no_srun or not Slurm.installed():
        trivial(bench, table, options.runs, None)
        return
    with Slurm(bench.hosts, bench.folder) as slurm:
        trivial(bench, table, options.runs, slurm)


def mpi(bench, table, runs):
    program = [os.path.join(BIN, "c_mpi_hello")]
    same = {**LEAN, **SAME}
    for ranks in (4, 8):
        mine = bench.muster(ranks, program, True, same)
        sides = in_turn(runs, [mine, bench.mpirun(ranks, program, True, same)])
        settings = " ".join(f"{name}={value}" for name, value in same.items())
        add(table, f"mpi-2x{ranks} last rank in main", sides, 1, "mpirun", 0.4, settings=settings)
        add(table, f"mpi-2x{ranks} same settings", sides, 0, "mpirun", 0.7, settings=settings)
        mine = bench.muster(ranks, program, True, {})
        sides = in_turn(runs, [mine, bench.mpirun(ranks, program, True, {})])
        add(table, f"mpi-2x{ranks} as it comes", sides, 0, "mpirun", 0.45)


def torch(bench, table, runs):
    missing = Torchrun.missing()
    if missing:
        print(f"skipped: torchrun (needs {missing})")
        return
    both = Torchrun(bench.hosts, bench.cluster, bench.folder, os.path.join(BIN, "muster"),
                    bench.pause)
    sides = in_turn(runs, [both.ours("plain", 4), both.theirs("plain", 4)])
    table.add("script without torch, 2x4", "s", *sides, "torchrun", 0.1)
    *sides, floor = in_turn(runs, [both.ours("reduce", 4), both.theirs("reduce", 4),
                                   both.imports(4)])
    table.add("torch to its first all-reduce, 2x4", "s", *sides, "torchrun")
    imports = statistics.median(floor)
    table.add("the same, less 8 imports of torch", "s",
              *([took - imports for took in side] for side in sides), "torchrun",
              imports=round(imports, 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--no-srun", action="store_true")
    parser.add_argument("--only", choices=("mpi", "trivial", "torchrun"))
    parser.add_argument("--pause", type=float, default=0.7, help="0: back to back")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench launch: needs root, for network namespaces")
    folder = tempfile.mkdtemp(prefix="muster-bench-")
    table = Table("launch")
    try:
        with Hosts(2) as hosts, Cluster(hosts, folder, 8, os.path.join(BIN, "muster")) as cluster:
            bench = Bench(hosts, cluster, folder, options.pause)
            if options.only in (None, "mpi"):
                mpi(bench, table, options.runs)
            if options.only in (None, "torchrun"):
                torch(bench, table, options.runs)
            if options.only in (None, "trivial"):
                without_mpi(bench, table, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table.done()


if __name__ == "__main__":
    main()
