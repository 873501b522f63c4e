"""./dev bench stall: what a checkpoint of 1 GiB costs the ranks that train.

stall    from the boundary of a step to the next forward pass, the maximum over 2 ranks of a node, beside a
         memcpy(3) of the same bytes by as many threads
beside   a step of 1 rank while the mover writes, beside one of a run without checkpoints

byte_gpt with 92 million parameters (1.03 GiB with both moments), on one node; the store lies in --folder.
What a rank did when comes from its flight recorder (`muster trace`).  In turn, medians over the saves of
--runs jobs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

from common import BIN, Table

MUSTER = os.path.join(BIN, "muster")
PARTS = os.path.join(BIN, "checkpoint_parts")
MODEL = ["--layers", "13", "--channels", "768", "--heads", "12", "--context", "16", "--micro-batches", "2"]
PARAMETERS = 13 * (12 * 768 * 768 + 13 * 768) + 256 * 768 + 16 * 768 + 2 * 768
MIB = PARAMETERS * 3 * 4 // (1 << 20)
STEPS, EVERY = 74, 24  # So far apart that the mover, which yields to the ranks, is done before the next.


class Node:
    """A cluster of one node, and a folder that goes with it."""

    def __init__(self, root):
        self.folder = tempfile.mkdtemp(prefix="muster-bench-", dir=root)
        self.environment = {**os.environ, "MUSTER_STATE_DIR": os.path.join(self.folder, "state")}

    def __enter__(self):
        self.muster("up", "--nodes", "1", "--slots", "2", "--name", "stall")
        return self

    def __exit__(self, *unused):
        subprocess.run([MUSTER, "down", "--name", "stall"], env=self.environment, check=False,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.folder)

    def muster(self, *words):
        done = subprocess.run([MUSTER, *words], env=self.environment, check=True, timeout=300,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return done.stdout.decode()

    def train(self, ranks, every):
        """(seconds of each step, by number; seconds of each save: the slowest rank's, by step)."""
        store = os.path.join(self.folder, "store")
        log = os.path.join(self.folder, "steps")
        os.mkdir(store)
        try:
            more = ["--checkpoint-every", str(every)] if every else []
            words = ["--checkpoint-store", store] if every else []
            job = json.loads(self.muster(
                "run", "--cluster", "stall", "--json", "--detach", "-N", "1", "--ranks-per-node", str(ranks),
                *words, "--", os.path.join(BIN, "byte_gpt"), *MODEL, "--steps", str(STEPS), "--step-log", log,
                *more))["job"]
            self.muster("wait", "--cluster", "stall", str(job))
            trace = json.loads(self.muster("trace", "--cluster", "stall", str(job)))["traceEvents"]
            with open(log, encoding="ascii") as file:
                lines = [line.split() for line in file]
        finally:
            shutil.rmtree(store)
            if os.path.exists(log):
                os.unlink(log)
        ends = {int(step): int(at_us) / 1e6 for _, step, at_us, *_ in lines}
        saves = {}
        for event in trace:
            if event.get("cat") == "checkpoint":
                step = event["args"]["step"]
                saves[step] = max(saves.get(step, 0), event["dur"] / 1e6)
        return {step: ends[step] - ends[step - 1] for step in ends if step - 1 in ends}, saves


def stall(node, table, runs):
    ours, copies = [], []
    for _ in range(runs):
        saves = node.train(2, EVERY)[1]
        # The last one comes with the end of the run.
        ours += [seconds for step, seconds in saves.items() if step % EVERY == 0]
        copied = subprocess.run([PARTS, "memcpy", "-", str(MIB), "2"], check=True, timeout=120,
                                stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        copies += json.loads(copied.stdout)["s"]
    table.add(f"stall of a save of {MIB} MiB", "s", ours, copies, "memcpy", asked=1.2)


def beside(node, table, runs):
    ours, plain = [], []
    for _ in range(runs):
        steps, saves = node.train(1, EVERY)
        ours += [steps[step + 1] - seconds for step, seconds in saves.items() if step + 1 in steps]
        steps = node.train(1, 0)[0]
        plain += [steps[step + 1] for step in range(EVERY, STEPS, EVERY)]
    table.add(f"a step while {MIB} MiB are written", "s", ours, plain, "without checkpoints", asked=1.1)


def main():
    parts = {"stall": stall, "beside": beside}
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(parts))
    parser.add_argument("--folder", default="/var/tmp")
    parser.add_argument("--runs", type=int, default=3, help="jobs, of three saves each")
    options = parser.parse_args()
    table = Table("stall")
    with Node(options.folder) as node:
        for name in [options.only] if options.only else parts:
            parts[name](node, table, options.runs)
    table.done()
    return 0


if __name__ == "__main__":
    sys.exit(main())
