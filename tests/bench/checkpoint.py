#!/usr/bin/env -S python3 -B
"""The checkpoint engine beside plain write(2) and torch.save: writing, loading, resharding, and a manifest of
100,000 tensors in 64 shards.

  checkpoint.py [--only scale|write|load] [--folder DIR] [--mib N] [--runs N]

On tmpfs (/dev/shm) by default: what is measured is the engine, not a disk.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from common import BIN, Table, in_turn

PARTS = os.path.join(BIN, "checkpoint_parts")
TORCH_SAVE = """
import sys, time, os, torch
torch.manual_seed(7)
t = torch.randint(0, 2**31, (int(sys.argv[2]) * 131072,), dtype=torch.int64)
began = time.monotonic()
with open(sys.argv[1], "wb") as f:
    torch.save({"w": t}, f)
    f.flush()
    os.fsync(f.fileno())
print('{"s": %f}' % (time.monotonic() - began))
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
    ours, plain = in_turn(runs, [runner.seconds(PARTS, "write", "FOLDER", runner.mib),
                                 runner.seconds(PARTS, "plain", "FOLDER", runner.mib)])
    table.add(f"write {runner.mib} MiB, CRC on", "s", ours, plain, "write(2)", asked=1.15)
    if subprocess.run([sys.executable, "-c", "import torch"], stderr=subprocess.DEVNULL,
                      check=False).returncode != 0:
        print("torch.save: not measured, python3-torch is not installed")
        return
    ours, torch = in_turn(runs, [runner.seconds(PARTS, "write", "FOLDER", runner.mib),
                                 runner.seconds(sys.executable, "-c", TORCH_SAVE, "FOLDER/t",
                                                runner.mib)])
    table.add(f"write {runner.mib} MiB, beside torch.save", "s", ours, torch, "torch.save")


def load(runner, table, runs):
    """Resharding takes at most 1.25 times as long as a load by as many ranks as saved."""
    for saved, loaded in ((8, 2), (2, 8)):
        ours, plain = in_turn(runs, [
            runner.seconds(PARTS, "load", "FOLDER", runner.mib, str(saved), str(loaded)),
            runner.seconds(PARTS, "load", "FOLDER", runner.mib, str(loaded), str(loaded))])
        table.add(f"load {runner.mib} MiB, {saved} -> {loaded}", "s", ours, plain,
                  f"{loaded} -> {loaded}", asked=1.25)


def main():
    parts = {"scale": scale, "write": write, "load": load}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(parts), action="append")
    parser.add_argument("--folder", default="/dev/shm")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    runner, table = Runner(options.folder, options.mib), Table("checkpoint")
    for name, part in parts.items():
        if not options.only or name in options.only:
            part(runner, table, options.runs)
    table.done()


if __name__ == "__main__":
    main()
