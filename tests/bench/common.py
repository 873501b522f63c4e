"""Pairs of commands timed in turn, medians, and the JSON line that ends a benchmark (testing.md)."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, "build", "release", "bin")
sys.path.insert(0, os.path.join(ROOT, "tests", "integration", "lib"))

# Ended from outside it still takes down what it put up.
signal.signal(signal.SIGTERM, lambda *unused: sys.exit(128 + signal.SIGTERM))


def timed(command, timeout=60, **options):
    """(Wall time in seconds, when it began on the monotonic clock, output) of one command, which must
    succeed."""
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout, check=False, **options)
    took = time.monotonic() - began
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\nexit {done.returncode}\n"
                           + done.stdout.decode(errors="replace")[-3000:])
    return took, began, done.stdout.decode(errors="replace")


def in_turn(runs, sides):
    """Calls each side once a round, the order turned round each time; returns one list a side."""
    results = [[] for _ in sides]
    order = list(range(len(sides)))
    for _ in range(runs):
        for side in order:
            results[side].append(sides[side]())
        order.reverse()
    return results


def spread(values):
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


class Table:
    def __init__(self, bench):
        self.bench = bench
        self.cases = []

    def add(self, case, unit, ours, theirs=None, peer=None, asked=None, bound=None, **more):
        """asked: of the ratio, or of ours without a peer; bound: of ours."""
        row = {"case": case, "unit": unit, "ours": round(statistics.median(ours), 4),
               "runs": len(ours)}
        line = f"{case:34} ours {spread(ours)} {unit}"
        if theirs:
            row.update(theirs=round(statistics.median(theirs), 4), peer=peer,
                       ratio=round(statistics.median(ours) / statistics.median(theirs), 3))
            line += f"   {peer} {spread(theirs)}   ratio {row['ratio']:.2f}"
        if asked is not None:
            row["asked"] = asked
            measured = row.get("ratio", row["ours"])
            line += f"   asked <= {asked} {'ok' if measured <= asked else 'MISSED'}"
        if bound is not None:
            row["asked"] = bound
            line += f"   asked <= {bound} {unit}: {'met' if row['ours'] <= bound else 'MISSED'}"
        row.update(more)
        self.cases.append(row)
        print(line, flush=True)

    def done(self):
        print(json.dumps({"bench": self.bench, "cases": self.cases}), flush=True)
