"""./dev bench logs: ranks that write lines as fast as they can, until all of it lies in their log files.

Against `mpirun --output-filename DIR:nocopy` and `torchrun --redirects 3`, neither of which shows
anything on screen, as `muster run --show-stream none`.  Each command starts from nothing; its whole
time counts and the CPU of all that descends from it, and both once more less what a launch of `true` in
the same round costs.  Two kinds of writers: `blocks` (seq: its
lines leave 8 KiB at a time, as those of a program whose stdout is no terminal do) and `flushed` (a
write for each line, as loggers do).  In turn, medians of --runs.  --folder: where the logs lie.
"""

import argparse
import ctypes
import functools
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time

from common import BIN, Table, in_turn
from torchrun import ENTRY, PYTHON, Torchrun

PR_SET_CHILD_SUBREAPER = 36
LINE = b"%s\n" % (b"a line that leaves as soon as it is whole, as those of loggers do " * 2)[:99]
FLUSHED = f"import os, sys\nfor _ in range(int(sys.argv[1])): os.write(1, {LINE!r})\n"


def cost(command, environment):
    """(Seconds until the command ended, CPU seconds of it and of all that descends from it)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # What becomes an orphan becomes ours, and its CPU is counted when it is waited for.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        null = os.open(os.devnull, os.O_RDWR)
        began = time.monotonic()
        pid = os.posix_spawnp(command[0], command, environment, file_actions=[
            (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1)])
        status = os.waitpid(pid, 0)[1]
        took = time.monotonic() - began
        try:
            while True:
                os.wait()
        except ChildProcessError:
            pass
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(writing, json.dumps([status, took, used.ru_utime + used.ru_stime]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        answer = said.read()
    os.waitpid(child, 0)
    status, took, cpu = json.loads(answer)
    if status != 0:
        raise RuntimeError(f"{' '.join(command)}: status {status}")
    return took, cpu


class Bench:
    def __init__(self, folder, ranks, environment):
        self.folder, self.ranks, self.environment = folder, ranks, environment

    def sides(self):
        return [self.muster, self.mpirun, self.torchrun]

    def muster(self, program, _):
        state = tempfile.mkdtemp(prefix="state-", dir=self.folder)
        result = cost([os.path.join(BIN, "muster"), "run", "-N", "1", "--ranks-per-node",
                       str(self.ranks), "--show-stream", "none", "--", *program],
                      {**self.environment, "MUSTER_STATE_DIR": state})
        shutil.rmtree(state)
        return result

    def mpirun(self, program, size):
        logs = tempfile.mkdtemp(prefix="mpirun-", dir=self.folder)
        result = cost(["mpirun", "--allow-run-as-root", "--oversubscribe", "--output-filename",
                       logs + "/out:nocopy", "-n", str(self.ranks), *program], self.environment)
        return self.measured(result, logs, size)

    def torchrun(self, program, size):
        logs = tempfile.mkdtemp(prefix="torchrun-", dir=self.folder)
        result = cost([PYTHON, "-c", ENTRY, "--nnodes=1", f"--nproc_per_node={self.ranks}",
                       "--master_addr=127.0.0.1", "--monitor_interval=0.1", "--redirects=3",
                       f"--log_dir={logs}", "--no_python", *program], self.environment)
        return self.measured(result, logs, size)

    @staticmethod
    def measured(result, logs, size):
        """Both sides must have written what we did."""
        found = sum(os.path.getsize(os.path.join(path, name))
                    for path, _, names in os.walk(logs) for name in names)
        if found < size:
            raise RuntimeError(f"{logs} has {found} bytes, not {size}")
        shutil.rmtree(logs)
        return result


def compare(table, bench, case, program, size, runs):
    sides = bench.sides()
    results = in_turn(runs, [functools.partial(side, *what) for side in sides
                             for what in ((program, size), (["true"], 0))])
    whole, launches = results[0::2], results[1::2]
    gib = size / (1 << 30)
    for index, unit, what in ((0, "s", "wall"), (1, "CPU s/GiB", "CPU")):
        scale = gib if index else 1
        values = [[result[index] / scale for result in side] for side in whole]
        add(table, f"{case}, {what}", unit, values)
        # Round by round: both were under the same load.
        net = [[(run[index] - launch[index]) / scale for run, launch in zip(*side)]
               for side in zip(whole, launches)]
        if min(statistics.median(side) for side in net) <= 0:
            print(f"{case}, {what} less its launch: not measurable, launches vary by more than it: "
                  f"{[round(statistics.median(side), 3) for side in net]}")
        else:
            add(table, f"{case}, {what} less its launch", unit, net)


def add(table, case, unit, values):
    better = min((1, 2), key=lambda side: statistics.median(values[side]))
    for side, name in ((1, "mpirun --output-filename"), (2, "torchrun --redirects")):
        table.add(case, unit, values[0], values[side], name, asked=1.0 if side == better else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--mib", type=int, default=64, help="of each rank")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    options = parser.parse_args()
    if missing := Torchrun.missing():
        sys.exit(f"bench logs: needs {missing} for torchrun")
    folder = tempfile.mkdtemp(prefix="muster-bench-", dir=options.folder)
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("MUSTER_")}
    # No cluster that happens to be up: each side starts from nothing.
    environment.update(XDG_RUNTIME_DIR=folder, TMPDIR=folder, OMPI_MCA_btl_tcp_if_include="lo")
    bench = Bench(folder, options.ranks, environment)
    table = Table("logs")
    print(f"{options.ranks} ranks of {options.mib} MiB, logs below {folder}; load "
          f"{os.getloadavg()[0]:.1f}")
    try:
        lines = options.mib * (1 << 20) // 10
        first = 100_000_000
        compare(table, bench, f"{options.ranks} ranks, blocks",
                ["seq", str(first), str(first + lines - 1)], options.ranks * lines * 10,
                options.runs)
        lines = options.mib * (1 << 20) // 8 // len(LINE)  # Each costs a hundred times as much.
        compare(table, bench, f"{options.ranks} ranks, flushed",
                [sys.executable, "-S", "-c", FLUSHED, str(lines)],
                options.ranks * lines * len(LINE), options.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table.done()


if __name__ == "__main__":
    main()
