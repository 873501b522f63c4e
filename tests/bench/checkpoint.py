#!/usr/bin/env -S python3 -B
"""The checkpoint engine beside plain write(2) and torch.save: writing, loading, resharding, and a manifest of
100,000 tensors in 64 shards.

  checkpoint.py [--only scale|write|load|disk] [--folder DIR] [--disk DIR] [--mib N] [--runs N]

On tmpfs (/dev/shm) by default: what is measured is the engine, not a disk.  `disk` writes and syncs on a real one,
beside dd and torch.save, with the processor time a GiB; any mounted share will do as well.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time

from common import BIN, Table, in_turn
from torchrun import PYTHON

PARTS = os.path.join(BIN, "checkpoint_parts")
TORCH_SAVE = """
import sys, time, os, torch
torch.manual_seed(7)
t = torch.randint(0, 2**31, (int(sys.argv[2]) * 131072,), dtype=torch.int64)
began, cpu = time.monotonic(), time.process_time()
with open(sys.argv[1], "wb") as f:
    torch.save({"w": t}, f)
    f.flush()
    os.fsync(f.fileno())
print('{"s": %f, "cpu_s": %f}' % (time.monotonic() - began, time.process_time() - cpu))
"""


class Runner:
    def __init__(self, folder, mib):
        self.root, self.mib = folder, str(mib)

    def once(self, words, environment=None):
        """The JSON of one measurement, in a folder of its own."""
        folder = tempfile.mkdtemp(prefix="muster-bench-", dir=self.root)
        try:
            done = subprocess.run([word.replace("FOLDER", folder) for word in words], check=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=300,
                                  env={**os.environ, **(environment or {})})
            return json.loads(done.stdout.decode().splitlines()[-1])
        finally:
            shutil.rmtree(folder)

    def seconds(self, *words):
        return lambda: self.once(list(words))["s"]


class Disk(Runner):
    """Writes on a disk, and what the processor did for each."""

    def __init__(self, folder, mib, noise):
        super().__init__(folder, mib)
        self.noise, self.cpu = noise, {}

    def timed(self, name, *words):
        def run():
            found = self.once(list(words))
            self.cpu.setdefault(name, []).append(found["cpu_s"] * 1024 / int(self.mib))
            return found["s"]
        return run

    def dd(self):
        folder = tempfile.mkdtemp(prefix="muster-bench-", dir=self.root)
        try:
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            subprocess.run(["dd", f"if={self.noise}", f"of={folder}/dd", "bs=1M", "conv=fsync",
                            "status=none"], check=True)
            seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        finally:
            shutil.rmtree(folder)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.cpu.setdefault("dd", []).append(cpu * 1024 / int(self.mib))
        return seconds


def disk(runner, table, runs):
    with tempfile.NamedTemporaryFile(prefix="muster-bench-", dir="/dev/shm") as noise:
        for _ in range(int(runner.mib)):
            noise.write(os.urandom(1 << 20))
        noise.flush()
        on = Disk(runner.disk, runner.mib, noise.name)
        peers = {"ours": on.timed("ours", PARTS, "write", "FOLDER", on.mib), "dd": on.dd}
        if has_torch():
            peers["torch.save"] = on.timed("torch.save", PYTHON, "-c", TORCH_SAVE, "FOLDER/t", on.mib)
        ours, *theirs = in_turn(runs, list(peers.values()))
    for name, seconds in zip(list(peers)[1:], theirs):
        table.add(f"write {on.mib} MiB to a disk", "s", ours, seconds, name)
        table.add("the same, processor time a GiB", "s", on.cpu["ours"], on.cpu[name], name)


def has_torch():
    found = subprocess.run([PYTHON, "-c", "import torch"], stderr=subprocess.DEVNULL, check=False)
    if found.returncode != 0:
        print("torch.save: not measured, python3-torch is not installed")
    return found.returncode == 0


def scale(runner, table, runs):
    folder = tempfile.mkdtemp(prefix="muster-bench-", dir=runner.root)
    try:
        made = subprocess.run([PARTS, "prepare", folder], check=True, stdout=subprocess.PIPE, timeout=300)
        crc = str(json.loads(made.stdout)["crc"])
        found = [runner.once([PARTS, "scale", folder], {"MANIFEST_CRC": crc}) for _ in range(runs)]
    finally:
        shutil.rmtree(folder)
    case = "100,000 tensors x 64 shards: "
    table.add(case + "view", "s", [one["view_s"] for one in found], asked=0.5)
    table.add(case + "plan", "s", [one["plan_s"] for one in found], asked=5)
    table.add(case + "peak memory", "MiB", [one["peak_mib"] for one in found], asked=1024)


def write(runner, table, runs):
    found = runner.once([PARTS, "beside", "FOLDER", runner.mib, str(3 * runs)])
    table.add(f"write {runner.mib} MiB, CRC on", "s", found["ours"], found["plain"], "write(2)", asked=1.15)
    if not has_torch():
        return
    ours, torch = in_turn(runs, [runner.seconds(PARTS, "write", "FOLDER", runner.mib),
                                 runner.seconds(PYTHON, "-c", TORCH_SAVE, "FOLDER/t",
                                                runner.mib)])
    table.add(f"write {runner.mib} MiB, beside torch.save", "s", ours, torch, "torch.save")


RESHARDED = ((8, 2), (2, 8))  # Nodes that saved, nodes that load.


def load(runner, table, runs):
    """Resharding takes at most 1.25 times as long as a load by as many nodes as saved."""
    folder = tempfile.mkdtemp(prefix="muster-bench-", dir=runner.root)
    try:
        for saved in (2, 8):
            subprocess.run([PARTS, "save", folder, runner.mib, str(saved)], check=True, timeout=300)
        for saved, loaded in RESHARDED:
            ours, plain = in_turn(runs, [
                runner.seconds(PARTS, "load", folder, runner.mib, str(nodes), str(loaded))
                for nodes in (saved, loaded)])
            table.add(f"load {runner.mib} MiB, {saved} -> {loaded}", "s", ours, plain,
                      f"{loaded} -> {loaded}", asked=1.25)
    finally:
        shutil.rmtree(folder)


def main():
    parts = {"scale": scale, "write": write, "load": load, "disk": disk}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(parts), action="append")
    parser.add_argument("--folder", default="/dev/shm")
    parser.add_argument("--disk", default="/var/tmp", help="a folder on a disk (or on a mounted share)")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    runner, table = Runner(options.folder, options.mib), Table("checkpoint")
    runner.disk = options.disk
    for name, part in parts.items():
        if not options.only or name in options.only:
            part(runner, table, options.runs)
    table.done()


if __name__ == "__main__":
    main()
