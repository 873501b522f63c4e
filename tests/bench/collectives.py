"""./dev bench collectives: sums over ranks, against Open MPI's and gloo's all-reduce.

sync    gradients as the training loop sums them: from the moment all ranks have rewritten theirs until
        every rank has read the whole result.  Ours is the arena with its canonical order.
reduce  all_reduce of user buffers (group "hybrid").
wire    all_reduce of user buffers over two hosts in namespaces, 1 Gbit/s between them (needs root).

Open MPI runs in the same processes, in turn with ours, once for each setting below; its best one
counts, size by size.  gloo (PyTorch) runs in processes of its own, after them.  Medians of --runs
rounds; algbw and busbw as nccl-tests define them.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

from common import BIN, Table, timed
from hosts import Hosts
from launch import exec_helper
from torchrun import PYTHON, Torchrun

HERE = os.path.dirname(os.path.abspath(__file__))
RANKS = os.path.join(BIN, "collectives_ranks")
SAME = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_coll": "^monitoring,sync",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "cma"}
SETTINGS = {
    "default": {},
    "yield": {"OMPI_MCA_mpi_yield_when_idle": "1"},
    "rabenseifner": {"OMPI_MCA_mpi_yield_when_idle": "1",
                     "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
                     "OMPI_MCA_coll_tuned_allreduce_algorithm": "6"},
    "ring": {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_coll_tuned_use_dynamic_rules": "1",
             "OMPI_MCA_coll_tuned_allreduce_algorithm": "4"},
    "adapt": {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_coll_adapt_priority": "100"},
    "sm": {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_coll_sm_priority": "100"},
}
SYNC_SIZES = [64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20]
REDUCE_SIZES = [4 << 10, 16 << 10] + SYNC_SIZES
LINK = 125e6  # 1 Gbit/s, in bytes.


def name_of(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def objects(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def mpirun(ranks, setting, words):
    environment = {**os.environ, **SAME, **SETTINGS[setting]}
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", str(ranks), RANKS]
    return objects(timed(command + [str(word) for word in words], 900, env=environment)[2])


def gloo(ranks, what, runs, sizes):
    """Medians a round by size, or nothing where PyTorch is not."""
    if Torchrun.missing():
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                   "WORLD_SIZE": str(ranks), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [PYTHON, os.path.join(HERE, "gloo_ranks.py"), what, str(runs), *map(str, sizes)]
    running = [subprocess.Popen(command, env={**environment, "RANK": str(rank)},
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
               for rank in range(ranks)]
    said = [process.communicate(timeout=1200)[0].decode() for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError("gloo failed")
    return {result["bytes"]: result["theirs"] for result in objects(said[0])}


def bandwidths(size, ranks, seconds):
    algbw = size / seconds / 1e9
    return {"algbw_GBps": round(algbw, 3), "busbw_GBps": round(algbw * 2 * (ranks - 1) / ranks, 3)}


def against(table, what, ranks, runs, sizes, asked):
    ours, theirs = {}, {}
    for setting in SETTINGS:
        for result in mpirun(ranks, setting, [what, runs, *sizes]):
            # Ours does not depend on the setting, but on the moment: all rounds count.
            ours.setdefault(result["bytes"], {})[setting] = result["ours"]
            theirs.setdefault(result["bytes"], {})[setting] = result["theirs"]
    other = gloo(ranks, what, runs, sizes)
    for size in sizes:
        best = min(SETTINGS, key=lambda setting: statistics.median(theirs[size][setting]))
        case = f"{what}, {ranks} ranks, {name_of(size)}"
        # Both of the same run.
        mine = [1e6 * value for value in ours[size][best]]
        more = bandwidths(size, ranks, statistics.median(mine) / 1e6)
        table.add(case, "us", mine, [1e6 * value for value in theirs[size][best]],
                  f"Open MPI ({best})", asked=asked, setting=SETTINGS[best], **more)
        if size in other:
            table.add(case, "us", mine, [1e6 * value for value in other[size]], "gloo",
                      asked=asked, **more)
    return ours


def of_memory(table, ours, runs):
    """At 2 ranks and 64 MiB, what is moved a second beside what memory can."""
    size = 64 << 20
    rates = mpirun(2, "default", ["memory", runs, 2 * size])[0]["rates"]
    # Two gradients read, one sum written; then each of two ranks reads it.
    moved = [5 * size / value for value in ours[size]["default"]]
    share = [statistics.median(rates) / value for value in moved]
    table.add("sync, 2 ranks, 64 MiB: memory bandwidth over it", "x", share, bound=1.43,
              memory_GBps=round(statistics.median(rates) / 1e9, 2),
              moved_GBps=round(statistics.median(moved) / 1e9, 2))


def wire(table, runs, folder):
    if os.geteuid() != 0:
        print("skipped: wire (needs root, for network namespaces)")
        return
    sizes = [16 << 20, 64 << 20]
    with Hosts(2, rate="1gbit") as hosts:
        helper = exec_helper(hosts, folder)
        for ranks in (1, 4):
            command = ["mpirun", "--allow-run-as-root", "--oversubscribe",
                       "--mca", "plm_rsh_agent", helper, "--mca", "plm_rsh_no_tree_spawn", "1",
                       "--mca", "oob_tcp_if_include", "eth0",
                       "--mca", "btl_tcp_if_include", "eth0",
                       "--bind-to", "none",  # Both hosts' ranks would get the first core.
                       "--host", ",".join(f"{hosts.address(i)}:{ranks}" for i in range(2)),
                       "-n", str(2 * ranks), RANKS, "reduce", str(runs), *map(str, sizes)]
            environment = {**os.environ, **SAME, "OMPI_MCA_mpi_yield_when_idle": "1"}
            output = timed(hosts.command(-1, command), 900, env=environment)[2]
            for result in objects(output):
                size = result["bytes"]
                # Each host sends its sum to the other: algbw is what the link carries.
                seconds = statistics.median(result["ours"])
                table.add(f"wire, 2 x {ranks} ranks, {name_of(size)}", "ms",
                          [1e3 * value for value in result["ours"]],
                          [1e3 * value for value in result["theirs"]], "Open MPI",
                          link_share=round(size / seconds / LINK, 3),
                          link_share_theirs=round(
                              size / statistics.median(result["theirs"]) / LINK, 3),
                          asked_link_share=0.93)
                print(f"{'':34} link: ours {size / seconds / LINK:.3f} (asked >= 0.93)")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", choices=("sync", "reduce", "wire"))
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 8])
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="muster-bench-")
    table = Table("collectives")
    print(f"load {os.getloadavg()[0]:.1f}; both sides: {SAME}")
    try:
        for ranks in options.ranks:
            if options.only in (None, "sync"):
                ours = against(table, "sync", ranks, options.runs, SYNC_SIZES, 0.334)
                if ranks == 2:
                    of_memory(table, ours, options.runs)
            if options.only in (None, "reduce"):
                against(table, "reduce", ranks, options.runs, REDUCE_SIZES, 1.0)
        if options.only in (None, "wire"):
            wire(table, options.runs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table.done()


if __name__ == "__main__":
    sys.exit(main())
