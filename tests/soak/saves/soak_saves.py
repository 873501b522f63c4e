#!/usr/bin/env -S python3 -B
"""./dev soak saves: real saves on a real NFS server (nfs-ganesha) over nfs://, by jobs of two hosts, while ranks, job
daemons, movers, agents, the coordinator and the server are killed -9 at random; half of the server's deaths lose what its
disk was not told to keep.

  soak_saves.py [--count N] [--seed S] [--results FILE]

lost   A commit that its committer was told of is there, or a newer one; the next attempt begins at it or later, and the
       job ends in the bits of a run that nobody disturbed.
torn   Every commit verifies, after each job.
Needs root, for namespaces as hosts.
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
for folder in ("lib", "nfs", "hosts", "kills"):
    sys.path.insert(0, os.path.join(ROOT, "tests", "integration", folder))

from cluster import Cluster, Refused  # noqa: E402
from hosts import Hosts  # noqa: E402
from processes import command_of, environment_of  # noqa: E402
from report import append_result, result_line  # noqa: E402
from share import Share, missing  # noqa: E402
from training import PATIENCE, Steps, alone, hash_in, until  # noqa: E402

BIN = os.path.join(ROOT, "build", "release", "bin")
SHIM = os.path.join(ROOT, "build", "release", "tests", "integration", "nfs", "libno_rpcbind.so")
PARTS = ["rank", "jobd", "mover", "agent", "coordinator", "server", "server, power lost"]
HOSTS, STEPS = 2, 60
RECORD = re.compile(r"g(\d+)-s(\d+)\.json$")


class Broken(Exception):
    pass


class Storm:
    def __init__(self, hosts, share, cluster, options, folder):
        self.hosts, self.share, self.cluster, self.folder = hosts, share, cluster, folder
        self.random = random.Random(options.seed)
        self.count = options.count
        self.seen, self.kills, self.deck = set(), collections.Counter(), []
        self.restores = 0
        self.began = time.monotonic()

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f} s  {len(self.seen):4} saves  {text}", flush=True)

    # ---- what the server holds --------------------------------------------------------------------

    def listed(self, run, folder):
        try:
            return os.listdir(self.share.seen(f"ckpt/{run}/{folder}"))
        except OSError:  # Also between umount and mount.
            return []

    def floor(self, run):
        """The newest commit whose committer has been answered: its record lies under one name only."""
        on_their_way = self.listed(run, "claims")
        newest = (0, 0)
        for name in self.listed(run, "commits"):
            found = RECORD.match(name)
            if not found:
                continue
            self.seen.add((run, name))
            if not any(temporary.startswith("." + name[:-len(".json")]) for temporary in on_their_way):
                newest = max(newest, (int(found[1]), int(found[2])))
        return newest

    # ---- kills ------------------------------------------------------------------------------------

    def victims(self, part, job):
        """(host, pid) of the processes of that kind."""
        found = []
        for index in range(HOSTS):
            for pid in self.hosts.processes(index):
                words = command_of(pid)
                of_job = environment_of(pid).get("MUSTER_JOB_ID") == str(job)
                rank = of_job and "MUSTER_RANK" in environment_of(pid) and words[:1] != ["muster"]
                if rank if part == "rank" else words[1:2] == [part]:
                    found.append((index, pid))
        return found

    def draw(self):
        if not self.deck:
            self.deck = list(PARTS)
            self.random.shuffle(self.deck)
        return self.deck.pop()

    def kill(self, part, job):
        """False: there was none."""
        if part.startswith("server"):
            self.share.kill()
            if "power" in part:
                self.share.drop_unsynced()
            self.share.start()
        elif part in ("agent", "coordinator"):
            index = -1 if part == "coordinator" else self.random.randrange(HOSTS)
            self.cluster.parts[index].kill()
            self.cluster.parts[index].wait()
            self.cluster.start(index)
        else:
            victims = self.victims(part, job)
            if not victims:
                return False
            try:
                os.kill(self.random.choice(victims)[1], signal.SIGKILL)
            except ProcessLookupError:
                return False
        self.kills[part] += 1
        self.say(f"kill {sum(self.kills.values())}: {part}")
        return True

    # ---- jobs -------------------------------------------------------------------------------------

    def job(self, number):
        log = Steps(os.path.join(self.folder, f"steps-{number}"))
        self.cluster.await_nodes(range(HOSTS))
        job = self.cluster.ask(
            "run", "--detach", "-N", "2", "--ranks-per-node", "1", "--max-restarts", "1000",
            "--checkpoint-store", self.share.url(timeout=20), "--", os.path.join(BIN, "byte_gpt"),
            "--steps", str(STEPS), "--checkpoint-every", "1", "--step-log", log.path, "--hash")["job"]
        run = self.cluster.ask("show", str(job))["run_id"]
        floors = {}  # Attempt that had begun: the newest commit at its last kill.
        waiter = subprocess.Popen(self.cluster.command("wait", "--json", str(job)), text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, env=self.cluster.environment)
        try:
            self.disturb(job, run, log, floors, waiter)
            out, err = waiter.communicate(timeout=4 * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Broken("stuck: " + self.cluster.call("why", str(job))) from None
        finally:
            waiter.kill()
            waiter.wait()
        if waiter.returncode != 0:
            raise Broken(f"stuck: job {job} ended with {waiter.returncode}: {out}{err}"
                         + self.cluster.call("why", str(job)) + self.cluster.call("logs", str(job)))
        self.judge(job, run, log, floors)

    def disturb(self, job, run, log, floors, waiter):
        while waiter.poll() is None:
            # After some new steps and saves, at any moment.
            lines, saves = len(log.lines()), len(self.seen)
            wait = self.random.random() * 1.5
            deadline = time.monotonic() + PATIENCE
            ready = None
            while waiter.poll() is None and (ready is None or time.monotonic() < ready):
                self.floor(run)
                if ready is None and len(log.lines()) > lines + 2 and len(self.seen) > saves:
                    ready = time.monotonic() + wait
                if ready is None and time.monotonic() > deadline:
                    return  # The judge says why.
                time.sleep(0.01)
            if waiter.poll() is not None:
                return
            floor = self.floor(run)
            begun = max((line[0] for line in log.lines()), default=0)
            if self.kill(self.draw(), job):
                floors[begun] = max(floors.get(begun, (0, 0)), floor)
                newest = self.floor(run)
                if newest < floor:
                    raise Broken(f"lost: {floor} had been committed, and now {newest} is the newest")

    def judge(self, job, run, log, floors):
        attempt = str(self.cluster.ask("show", str(job))["attempt"])
        found = hash_in(self.cluster.call("logs", "--attempt", attempt, str(job)))
        if found != self.alone:
            raise Broken("torn: the job ended in other bits than one that nobody disturbed")
        begins = {}
        for number, step, _ in log.lines():
            begins.setdefault(number, step)
        for number, (_, committed) in floors.items():
            later = [begins[other] for other in sorted(begins) if other > number]
            if later and later[0] < committed:
                raise Broken(f"lost: after step {committed} was committed an attempt began at {later[0]}")
            self.restores += bool(later)
        checked = self.hosts.run(0, [os.path.join(BIN, "muster"), "ckpt", "verify", "--json",
                                     self.share.url()], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if checked.returncode != 0:
            raise Broken("torn: " + checked.stdout)
        newest = self.floor(run)
        if newest[1] != STEPS:
            raise Broken(f"lost: the job's last step is {STEPS}, its newest commit {newest}")

    def run(self):
        self.alone = alone(os.path.join(BIN, "byte_gpt"), STEPS)
        number = 0
        while len(self.seen) < self.count:
            number += 1
            self.job(number)
            self.say(f"job {number} held")


def soak(options, folder):
    with Hosts(HOSTS) as hosts, Share(hosts, folder, SHIM) as share:
        share.start()
        with Cluster(hosts, folder, 2, os.path.join(BIN, "muster")) as cluster:
            storm = Storm(hosts, share, cluster, options, folder)
            try:
                storm.run()
                outcome = "0 lost, 0 torn"
            except (Broken, Refused, AssertionError, RuntimeError) as problem:
                print(f"saves: {problem}\n{cluster.logs()}")
                outcome = "FAILED: " + str(problem).splitlines()[0][:100]
            return storm, outcome


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="saves that were seen on the share (500)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31),
                        help="what is drawn; the moments are as exact as the machine")
    parser.add_argument("--results", default=os.path.join(ROOT, "tests", "soak", "results.md"))
    options = parser.parse_args()
    if os.geteuid() != 0 or missing():
        print("skipped: needs root and the Debian packages", " ".join(missing()))
        return 77
    folder = tempfile.mkdtemp(prefix="muster-saves-", dir="/tmp")
    print(f"saves: seed {options.seed}, {options.count} saves", flush=True)
    try:
        storm, outcome = soak(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    held = outcome == "0 lost, 0 torn"
    kills = sum(storm.kills.values())
    append_result(options.results, result_line("saves", options.seed, len(storm.seen), ROOT,
                                               f"{outcome}, {kills} kills"))
    print(json.dumps({"soak": "saves", "seed": options.seed, "count": len(storm.seen), "kills": storm.kills,
                      "restores": storm.restores, "held": held, **({"lost": 0, "torn": 0} if held else {})}))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
