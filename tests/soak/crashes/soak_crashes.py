#!/usr/bin/env -S python3 -B
"""./dev soak crashes: histories of checkpoints over a store that loses what was not synced, with crashes and
faults at every call of claim, save, gc and load (tests/soak/crashes/history.h has what must hold).

  soak_crashes.py [--count N] [--seed FIRST] [--jobs N] [--results FILE]

A history is given by its seed alone.  One that breaks a promise ends the soak, with the command that shows
it again.
"""

import argparse
import json
import os
import random
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration", "kills"))

from report import append_result, result_line  # noqa: E402

HISTORIES = os.path.join(ROOT, "build", "release", "bin", "crash_histories")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="histories (100000)")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 40), help="of the first one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that share them")
    parser.add_argument("--results", default=os.path.join(ROOT, "tests", "soak", "results.md"))
    options = parser.parse_args()
    jobs = max(1, min(options.jobs, options.count))
    bounds = [options.seed + options.count * i // jobs for i in range(jobs + 1)]
    print(f"crashes: seed {options.seed}, {options.count} histories", flush=True)
    running = [subprocess.Popen([HISTORIES, "--seed", str(first), "--count", str(end - first)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
               for first, end in zip(bounds, bounds[1:])]
    outputs = [process.communicate()[0] for process in running]
    failed = [output for process, output in zip(running, outputs) if process.returncode != 0]
    print((failed or outputs)[0])
    if failed:
        outcome = "FAILED: " + (failed[0].splitlines() or ["no output"])[-1]
        crashes = 0
    else:
        crashes = sum(json.loads(output.splitlines()[-1])["crashes"] for output in outputs)
        outcome = f"0 lost, 0 torn, {crashes} crashes"
    append_result(options.results, result_line("crashes", options.seed, options.count, ROOT, outcome))
    line = {"soak": "crashes", "seed": options.seed, "count": options.count, "held": not failed}
    print(json.dumps(line if failed else {**line, "crashes": crashes, "lost": 0, "torn": 0}))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
