#!/usr/bin/env -S python3 -B
"""kill -9 of coordinator, agents, job daemons, PMIx helpers, movers, keeper, ranks and programs beside
ranks (`muster exec`) at random moments, while jobs train on an embedded cluster, next to one whose
ranks leave deaf daemons behind.  After each: what was committed is there, whole; jobs that should go on
go on, to the same bits as undisturbed; the others end with a cause that names the victim; an
acknowledged submission is there once; the parts come back; with the keeper, all goes; 3 s after a
job's end none of its processes is left and none of its ports taken.

  storm.py [--count N] [--seed S] [--results FILE] [--shared]
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration", "lib"))

from cluster_up import NODES, PATIENCE, Cluster, Failed  # noqa: E402
from guests import FREE_AFTER, Guest, UnrulyJob  # noqa: E402
from jobs import EVERY, MICRO_BATCHES, Job, Kill, Plan  # noqa: E402
from machine import Leftovers, Victim, processes_of  # noqa: E402
from report import append_result, print_table, result_line, too_rare  # noqa: E402

PARTS = ["coordinator", "agent", "jobd", "pmix", "mover", "keeper", "rank", "exec"]
OF_A_JOB = ("jobd", "pmix", "mover", "rank", "exec")
PHASES = ["starting", "training", "saving", "stopping"]
STEPS = [60, 100]  # Of a job.
POOL = 2           # Jobs that train at any time.
# How long after its occasion a kill may come, in seconds.
DELAYS = {"starting": 0.4, "training": 0.4, "saving": 0.08, "stopping": 0.12}


def await_that(what, condition):
    """Nothing tells when a process that is no child of ours starts, or a line is written."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"after {PATIENCE} s still not: {what}")
        time.sleep(0.003)


class Storm:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.model_seed = self.random.randrange(1, 1 << 31)
        self.folder = tempfile.mkdtemp(prefix=f"muster-test-{os.getpid()}-", dir="/tmp")
        for name in ("home", "run", "state", "tmp", "store"):
            os.mkdir(self.path(name), 0o700)
        self.store = self.path("store")
        self.binary = os.path.join(options.bin, "muster")
        self.program = os.path.join(options.bin, "byte_gpt")
        mark = f"{os.getpid()}-storm"
        self.leftovers = Leftovers(os.path.join(options.bin, "machine_traces"), mark,
                                   self.path("run"), options.shared)
        self.environment = {**os.environ, "MUSTER_TEST_MARK": mark, "HOME": self.path("home"),
                            "TMPDIR": self.path("tmp"), "XDG_RUNTIME_DIR": self.path("run"),
                            "MUSTER_STATE_DIR": self.path("state")}
        self.hashes, self.kills, self.pool, self.errands = {}, [], [], []
        self.jobs_made = self.clusters_made = self.submissions = self.jobs_judged = 0
        self.unruly_made = self.daemons_gone = self.guests_ended = 0
        self.unruly = self.cluster = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def say(self, text):
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)

    # ---- clusters ---------------------------------------------------------------------------------

    def up(self):
        """Anew, or where the last one ended: then its journal is read."""
        if not self.clusters_made or self.random.random() < 0.5:
            self.clusters_made += 1
        self.cluster = Cluster(self.binary, f"storm{self.clusters_made}", self.environment)
        self.leftovers.cookies.add(self.cluster.cookie)

    def nodes_up(self):
        nodes = self.cluster.ask("nodes")
        return len(nodes) == NODES and not any(node["lost"] for node in nodes)

    def reference(self):
        for steps in STEPS:
            done = subprocess.run(
                [self.program, "--steps", str(steps), "--micro-batches", str(MICRO_BATCHES),
                 "--seed", str(self.model_seed), "--hash"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
            self.hashes[steps] = done.stdout.decode().split("parameters sha256 ")[1].split()[0]

    def verify(self, *run):
        out = subprocess.run([self.binary, "ckpt", "verify", "--json", self.store, *run],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        if b"nothing is committed" in out.stdout:
            return []
        if out.returncode != 0:
            raise Failed(f"muster ckpt verify: exit {out.returncode}: {out.stdout.decode()}")
        return json.loads(out.stdout)

    # ---- jobs -------------------------------------------------------------------------------------

    def submit(self):
        frail = self.random.random() < 0.35
        job = Job(self, Plan(self.random, self.random.choice(STEPS), frail))
        self.pool.append(job)
        return job

    def tend(self):
        """Judges what is over, and keeps the pool filled."""
        for job in [job for job in self.pool if job.over()]:
            self.judge(job)
        while len(self.pool) < POOL:
            self.submit()
        if self.unruly and (self.unruly.over() or self.random.random() < 0.1):
            self.end_unruly()
        if not self.unruly:
            self.unruly = UnrulyJob(self)

    def end_unruly(self):
        """By itself, or by its user; either way all of it."""
        if not self.unruly.over():
            self.unruly.cancel()
            await_that(f"the end of {self.unruly.name}", self.unruly.over)
        self.daemons_gone += self.unruly.check_gone()
        self.unruly = None

    def judge(self, job):
        self.pool.remove(job)
        job.finish()
        self.jobs_judged += 1

    # ---- one kill ---------------------------------------------------------------------------------

    def occasion(self, part, phase):
        """Waits for a moment of this phase in some job; returns the job."""
        if phase == "starting":
            job = self.submit()
            if part in OF_A_JOB and part != "exec":
                self.await_victim(part, job)
            return job
        ready = [job for job in self.pool if part != "mover" or job.plan.stored]
        if not ready:
            ready = [self.submit()]
        if phase == "saving":
            ready = [job for job in ready if job.plan.stored] or ready
        job = self.random.choice(ready)
        await_that(f"a step of {job.name}", lambda: job.over() or job.lines())
        if phase == "saving":
            due = (job.lines()[-1][1] // EVERY + 1) * EVERY if job.lines() else EVERY
            await_that(f"step {due} of {job.name}",
                       lambda: job.over() or job.lines()[-1][1] >= due
                       or job.phase() == "stopping")
        elif phase == "stopping" and self.random.random() < 0.5:
            job = max(ready, key=lambda some: (some.lines() or [(0, 0, 0)])[-1][1])
            await_that(f"the last step of {job.name}", lambda: job.phase() in ("stopping", "over"))
        elif phase == "stopping":
            job.cancelled = True
            self.cluster.call("cancel", str(job.id))
        return job

    def candidates(self, part, job):
        found = [process for process in self.cluster.processes().values() if process.part == part]
        if part in OF_A_JOB:
            found = [process for process in found if process.job == job.id]
        return sorted(found, key=lambda process: (process.node or "", process.rank))

    def await_victim(self, part, job):
        await_that(f"a {part} of {job.name}", lambda: job.over() or self.candidates(part, job))

    def strike(self, part, phase):
        """One kill, or None when there was nothing to hit."""
        job = self.occasion(part, phase)
        guest = None
        if part == "exec" or self.random.random() < 0.1:
            guest = Guest(self.cluster, job, insist=part == "exec")
        try:
            return self.strike_at(part, phase, job)
        finally:
            if guest:
                guest.end()
                self.guests_ended += guest.pid != 0

    def strike_at(self, part, phase, job):
        time.sleep(self.random.uniform(0, DELAYS[phase]))  # The random moment.
        found = self.candidates(part, job)
        if not found:
            return None
        process = self.random.choice(found)
        with Victim(process) as victim:
            kill = Kill(len(self.kills) + 1, process, job, job.phase())
            if kill.phase == "over":
                return None
            hit = [job] if part in OF_A_JOB else self.pool
            for some in hit:
                some.hit(kill)
            if not victim.kill():
                for some in hit:
                    some.hits.remove(kill)
                return None
        self.kills.append(kill)
        self.say(str(kill))
        return kill

    # ---- what must hold after it ------------------------------------------------------------------

    def check_parts(self, kills):
        """The keeper starts anew what was killed, and the cluster is whole."""
        for kill in kills:
            if kill.part not in ("coordinator", "agent"):
                continue
            await_that(f"a new {kill.part} in place of {kill.pid}",
                       lambda kill=kill: [some for some in self.candidates(kill.part, None)
                                          if some.pid != kill.pid and some.node == kill.node])
            kill.outcome = "back"
        await_that("every node is up", self.nodes_up)

    def check_end(self, kills):
        """The keeper is dead: nothing may be left but what lies on disk."""
        left = self.leftovers.await_none(60)
        if left:
            raise Failed("the keeper is dead, and left behind is:\n  " + "\n  ".join(left))
        for kill in kills:
            if kill.part in ("keeper", "coordinator", "agent"):
                kill.outcome = "all gone"
        self.verify()
        pool, self.pool = self.pool, []
        old = self.cluster
        for job in pool:
            job.waiter.kill()
            job.waiter.communicate()
        if self.unruly:
            self.unruly.waiter.kill()
            self.daemons_gone += self.unruly.check_gone()
            self.unruly = None
        self.up()
        for job in pool:
            if self.cluster.state == old.state:
                self.pool.append(job)
                job.cluster = self.cluster
                job.wait()
            else:
                job.check_store()

    # ---- submissions around a kill ----------------------------------------------------------------

    def start_errand(self):
        """A tiny job, submitted by a process of its own at about the time of a kill."""
        self.submissions += 1
        name = f"errand-{self.submissions}"
        file = self.write(name + ".yaml", f"name: {name}\ncommand: [/bin/true]\n"
                                          f"ranks_per_node: 1\nworkdir: {self.folder}\n")
        self.errands.append((name, self.cluster, self.cluster.start("submit", file)))

    def check_errands(self, ended):
        """Acknowledged: it is there, once, and is done.  Not acknowledged: only if the end came."""
        errands, self.errands = self.errands, []
        for name, cluster, submit in errands:
            if ended and submit.poll() is None:
                submit.kill()
            out, err = submit.communicate(timeout=PATIENCE)
            if submit.returncode != 0 and not ended:
                raise Failed(f"submitting {name}: exit {submit.returncode}: {err.decode()}")
            if submit.returncode != 0 or cluster.state != self.cluster.state:
                continue
            same = [job for job in self.cluster.ask("list", "--all") if job["name"] == name]
            if [job["job"] for job in same] != [int(out.split()[0])]:
                raise Failed(f"{name} was acknowledged as job {out.decode()}, listed are {same}")
            if not ended:
                self.cluster.call("wait", str(same[0]["job"]))

    # ---- the whole --------------------------------------------------------------------------------

    def deck(self):
        """As many of each part, in random order, and of each phase."""
        count = self.options.count
        parts = [PARTS[i % len(PARTS)] for i in range(count)]
        phases = [PHASES[i % len(PHASES)] for i in range(count)]
        self.random.shuffle(parts)
        self.random.shuffle(phases)
        return list(zip(parts, phases))

    def burst(self, deck):
        """A few kills close together, then the checks."""
        kills = []
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            if not deck:
                break
            if self.random.random() < 0.5:
                self.start_errand()
            kill = self.strike(*deck[-1])
            if kill is None:
                continue
            deck.pop()
            kills.append(kill)
            if kill.part == "keeper":
                break
        ended = any(kill.part == "keeper" for kill in kills)
        if ended:
            self.check_end(kills)
        self.check_parts([] if ended else kills)
        self.check_errands(ended)
        self.tend()

    def run(self):
        self.began = time.monotonic()
        self.reference()
        self.up()
        deck = self.deck()
        while deck:
            self.tend()
            self.burst(deck)
        for job in list(self.pool):
            self.judge(job)
        if self.unruly:
            self.end_unruly()
        self.cluster.down()
        left = self.leftovers.await_none(FREE_AFTER)
        if left:
            raise Failed(f"{FREE_AFTER} s after `muster down`, left behind is:\n  "
                         + "\n  ".join(left))
        self.verify()

    def end_processes(self):
        """After a failure.  Without its keeper a cluster ends by itself; what does not is killed."""
        def rest():
            return [process for cookie in self.leftovers.cookies
                    for process in processes_of(cookie).values()]
        for process in rest():
            if process.part == "keeper":
                with Victim(process) as victim:
                    victim.kill()
        deadline = time.monotonic() + 30
        while rest() and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in rest():
            with Victim(process) as victim:
                victim.kill()

    def keep_logs(self):
        """Under a name that nobody cleans up."""
        self.end_processes()
        kept = f"/tmp/failed-kills-{self.options.seed}-{os.getpid()}"
        os.rename(self.folder, kept)
        return kept


def main():
    parser = argparse.ArgumentParser(prog="kills", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.path.join(ROOT, "build", "release", "bin"),
                        help="where the programs are")
    parser.add_argument("--count", type=int, default=100, help="how many kills (100)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31),
                        help="what is drawn; the moments are as exact as the machine")
    parser.add_argument("--results", help="append the result line to this file")
    parser.add_argument("--shared", action="store_true",
                        help="others run muster here: only what names the storm's own clusters "
                             "counts as left behind")
    options = parser.parse_args()
    print(f"kills: seed {options.seed}, {options.count} kills", flush=True)
    storm = Storm(options)
    try:
        storm.run()
        rare = too_rare(storm.kills, options.count, PARTS, PHASES)
        outcome = "too rare: " + "; ".join(rare) if rare else "all held"
    except (Failed, OSError, subprocess.SubprocessError, ValueError) as problem:
        outcome = f"FAILED after kill {len(storm.kills)}"
        print(f"\nkills: {outcome}, seed {options.seed}: {problem!r}" if not str(problem) else
              f"\nkills: {outcome}, seed {options.seed}: {problem}")
        print(f"kills: the logs are in {storm.keep_logs()}")
    finally:
        storm.end_processes()
        shutil.rmtree(storm.folder, ignore_errors=True)
    print_table(storm.kills, PARTS, PHASES)
    print(f"{storm.jobs_judged} jobs and {storm.submissions} submissions around kills judged, "
          f"{storm.daemons_gone} daemons of ranks and {storm.guests_ended} programs beside ranks gone, "
          f"{storm.clusters_made} clusters, {time.monotonic() - storm.began:.0f} s")
    line = result_line("kills", options.seed, len(storm.kills), ROOT, outcome)
    if options.results:
        append_result(options.results, line)
    print(line)
    sys.exit(0 if outcome == "all held" else 1)


if __name__ == "__main__":
    main()
