"""./dev bench train: byte_gpt's training, against the same model in PyTorch and against itself.

tokens      tokens/s of 1 rank and of 2, a core each; PyTorch with the same BLAS (OpenBLAS for one thread),
            the same kernels (OPENBLAS_CORETYPE) and as many ranks, as DistributedDataParallel over gloo
scaling     weak scaling of ranks as threads and as processes: twice the ranks, twice the micro-batches
determinism a step in canonical order beside one in the cheapest, on 2 ranks and on 3 (which are no
            power of two)
hidden      two hosts in namespaces, 1 Gbit/s between them, a backward pass of twice the wire's time:
            the share of communication that it hides (needs root)

In turn, medians of --runs rounds.
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

from collectives import SAME, objects
from common import BIN, Table, in_turn, timed
from hosts import Hosts
from launch import exec_helper
from torchrun import PYTHON, Torchrun

HERE = os.path.dirname(os.path.abspath(__file__))
BYTE_GPT = os.path.join(BIN, "byte_gpt")
RANKS = os.path.join(BIN, "train_ranks")
LINK = 125e6  # 1 Gbit/s, in bytes.
MIB = 1 << 20
LEAN = {**SAME, "OMPI_MCA_mpi_yield_when_idle": "1", "HWLOC_COMPONENTS": "-pci,-linuxio",
        "HWLOC_PLUGINS_PATH": "/dev/null"}


def core_type():
    """What byte_gpt would choose (core_type_posix.cc)."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        text = file.read()
    flags = set(re.search(r"^flags\s*: (.*)$", text, re.MULTILINE).group(1).split())
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags and "GenuineIntel" in text:
        return "SKYLAKEX"
    return "HASWELL" if {"avx2", "fma"} <= flags else None


def rate(output):
    return float(re.findall(r"([0-9.]+) tokens/s", output)[-1])


class Ours:
    def __init__(self, core):
        self.environment = {**os.environ, **LEAN}
        if core:
            self.environment["OPENBLAS_CORETYPE"] = core

    def run(self, steps, ranks=1, threads=1, micro_batches=16, more=()):
        command = [BYTE_GPT, "--steps", str(steps), "--micro-batches", str(micro_batches), *more]
        if threads > 1:
            command += ["--threads", str(threads)]
        if ranks > 1:
            command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", str(ranks),
                       *command]
        return rate(timed(command, 600, env=self.environment)[2])


class Torch:
    def __init__(self, core, folder, python=PYTHON):
        self.python = python
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                            "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
        serial = "/usr/lib/x86_64-linux-gnu/openblas-serial"
        if os.path.isdir(serial):
            self.environment["LD_LIBRARY_PATH"] = serial
        if core:
            self.environment["OPENBLAS_CORETYPE"] = core
        self.text = os.path.join(folder, "text")
        licences = "/usr/share/common-licenses"
        with open(self.text, "wb") as into:
            for name in sorted(os.listdir(licences)):
                path = os.path.join(licences, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as file:
                        into.write(file.read())

    def run(self, steps, ranks=1):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = [self.python, os.path.join(HERE, "torch_gpt.py"), str(steps), self.text]
        running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    env={**self.environment, "MASTER_PORT": port,
                                         "WORLD_SIZE": str(ranks), "RANK": str(rank)})
                   for rank in range(ranks)]
        said = [process.communicate(timeout=600)[0].decode() for process in running]
        if any(process.returncode for process in running):
            raise RuntimeError("torch_gpt.py failed")
        return rate(said[0])


def tokens(table, options, ours, peers):
    """`peers`: name, a PyTorch, the asked ratio."""
    for ranks in (1, 2):
        # Two micro-batches of eight sequences: PyTorch, too, takes each rank's sequences at once.
        sides = [lambda r=ranks: ours.run(options.steps, ranks=r, micro_batches=2,
                                          more=["--sequences", "8"])]
        sides += [lambda r=ranks, t=torch: t.run(options.steps, ranks=r) for _, torch, _ in peers]
        mine, *others = in_turn(options.runs, sides)
        case = f"tokens/s, {ranks} rank{'s' if ranks > 1 else ''}"
        if not peers:
            table.add(case, "tokens/s", mine, better="higher")
        for (name, _, asked), theirs in zip(peers, others):
            table.add(case, "tokens/s", mine, theirs, name, better="higher", asked_ratio=asked)
            share = statistics.median(mine) / statistics.median(theirs)
            print(f"{'':34} asked >= {asked}: {'met' if share >= asked else 'MISSED'}")


def scaling(table, options, ours):
    """One rank and two, each with 16 micro-batches of its own."""
    for name, more in (("threads", {"threads": 2}), ("processes", {"ranks": 2})):
        one, two = in_turn(options.runs, [
            lambda: ours.run(options.steps),
            lambda kind=more: ours.run(options.steps, micro_batches=32, **kind)])
        half = [value / 2 for value in two]
        table.add(f"weak scaling 1 -> 2 {name}", "tokens/s a rank", half, one, "1 rank",
                  better="higher", asked_ratio=0.9)
        share = statistics.median(half) / statistics.median(one)
        print(f"{'':34} asked >= 0.9: {'met' if share >= 0.9 else 'MISSED'}")


def determinism(table, options, ours):
    for ranks in (2, 3):
        rates = in_turn(options.runs, [
            lambda r=ranks: ours.run(options.steps, ranks=r),
            lambda r=ranks: ours.run(options.steps, ranks=r, more=["--no-deterministic"])])
        canonical, cheapest = ([1e3 * 16 * 64 / value for value in side] for side in rates)
        table.add(f"determinism, {ranks} ranks", "ms a step", canonical, cheapest,
                  "deterministic: false", asked=1.05)


def hidden(table, options, folder):
    if os.geteuid() != 0:
        print("skipped: hidden (needs root, for network namespaces)")
        return
    mebibytes = 16
    wire = 1e3 * mebibytes * MIB / LINK  # ms: each of two nodes sends its sum to the other.
    with Hosts(2, rate="1gbit") as hosts:
        helper = exec_helper(hosts, folder)
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe",
                   "--mca", "plm_rsh_agent", helper, "--mca", "plm_rsh_no_tree_spawn", "1",
                   "--mca", "oob_tcp_if_include", "eth0", "--mca", "btl_tcp_if_include", "eth0",
                   "--bind-to", "none",  # Both hosts' ranks would get the first core.
                   "--host", ",".join(f"{hosts.address(i)}:1" for i in range(2)), "-n", "2",
                   RANKS, str(options.runs), str(mebibytes), str(round(2 * wire))]
        output = timed(hosts.command(-1, command), 900, env={**os.environ, **LEAN})[2]
    result = objects(output)[0]
    rows = list(zip(result["compute"], result["after"], result["beside"]))
    shares = [(after - beside) / (after - compute) for compute, after, beside in rows]
    for name in ("compute", "after", "beside"):
        table.add(f"hidden: a step, {name}", "ms", [1e3 * value for value in result[name]])
    table.add("hidden: share of communication", "of 1", shares, better="higher",
              wire_ms=round(wire, 1), asked_at_least=0.8)
    print(f"{'':34} asked >= 0.8: {'met' if statistics.median(shares) >= 0.8 else 'MISSED'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=150, help="of each run of byte_gpt")
    parser.add_argument("--torch-python", metavar="PATH",
                        help="a Python with another PyTorch, such as PyPI's: tokens beside it, too")
    parser.add_argument("--only", choices=("tokens", "scaling", "determinism", "hidden"))
    options = parser.parse_args()
    core = core_type()
    folder = tempfile.mkdtemp(prefix="muster-bench-")
    table = Table("train")
    print(f"load {os.getloadavg()[0]:.1f}; both sides: OPENBLAS_CORETYPE={core}, one thread a rank")
    try:
        ours, peers = Ours(core), []
        if Torchrun.missing():
            print("skipped: PyTorch (python3-torch is not installed)")
        else:
            peers.append(("PyTorch", Torch(core, folder), 1.5))
        if options.torch_python:
            peers.append(("the other PyTorch", Torch(core, folder, options.torch_python), 1.0))
        else:
            print("skipped: PyPI's PyTorch (say --torch-python PATH of a Python that has it)")
        if options.only in (None, "tokens"):
            tokens(table, options, ours, peers)
        if options.only in (None, "scaling"):
            scaling(table, options, ours)
        if options.only in (None, "determinism"):
            determinism(table, options, ours)
        if options.only in (None, "hidden"):
            hidden(table, options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table.done()


if __name__ == "__main__":
    sys.exit(main())
