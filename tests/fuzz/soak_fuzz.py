#!/usr/bin/env -S python3 -B
"""libFuzzer over every parser of what a store holds, with address and undefined behaviour sanitizers:
ten minutes each, from the corpora beside this file.  Needs clang.

  soak_fuzz.py [TARGET...] [--seconds N] [--results FILE]
"""

import argparse
import glob
import os
import random
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration", "kills"))

from report import append_result, result_line  # noqa: E402

TARGETS = ["manifest", "record", "safetensors"]
BUILD = os.path.join(ROOT, "build", "fuzz")


def build(targets):
    configure = ["cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                 "-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++", "-DMUSTER_CORE_ONLY=ON",
                 "-DMUSTER_FUZZ=ON", "-DMUSTER_SANITIZE=address,undefined,fuzzer-no-link"]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", BUILD] + [f"fuzz_{name}" for name in targets], check=True,
                   stdout=subprocess.DEVNULL)


def fuzz(name, options, folder):
    """Runs of one target; what it found lies in `folder`."""
    corpus = os.path.join(folder, name)
    shutil.copytree(os.path.join(ROOT, "tests", "fuzz", "corpus", name), corpus)
    log = os.path.join(folder, name + ".log")
    command = [os.path.join(BUILD, "bin", f"fuzz_{name}"), f"-max_total_time={options.seconds}",
               f"-seed={options.seed}", "-max_len=65536", "-rss_limit_mb=2048", "-timeout=20",
               "-print_final_stats=1", f"-artifact_prefix={folder}/{name}-", corpus]
    with open(log, "wb") as out:
        ended = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
    with open(log, encoding="utf-8", errors="replace") as text:
        lines = text.read().splitlines()
    runs = [int(line.split()[-1]) for line in lines if line.startswith("stat::number_of_executed")]
    if ended.returncode != 0 or not runs:
        print("\n".join(lines[-40:]), file=sys.stderr)
        print(f"{name}: FOUND {glob.glob(f'{folder}/{name}-*')}, log {log}", file=sys.stderr)
        return None
    print(f"{name}: {runs[-1]} inputs in {options.seconds} s, no finding", flush=True)
    return runs[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=600, help="of each target (default 600)")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31))
    parser.add_argument("--results", default=os.path.join(ROOT, "tests", "soak", "results.md"))
    options = parser.parse_args()
    unknown = sorted(set(options.targets) - set(TARGETS))
    if unknown:
        parser.error(f"no target {unknown[0]}; there is: {', '.join(TARGETS)}")
    if shutil.which("clang++") is None:
        sys.exit("skipped: needs clang++ (./dev setup installs it)")
    build(options.targets)
    folder = tempfile.mkdtemp(prefix="muster-fuzz-", dir="/tmp")
    found = {name: fuzz(name, options, folder) for name in options.targets}
    whole = all(runs is not None for runs in found.values())
    outcome = f"no finding in {options.seconds} s each" if whole else "FOUND something"
    append_result(options.results, result_line("fuzz " + " ".join(options.targets), options.seed,
                                               sum(runs or 0 for runs in found.values()), ROOT, outcome))
    if not whole:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
