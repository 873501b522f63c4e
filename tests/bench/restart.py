"""./dev bench restart: from kill(2) of one rank to the first completed step higher than any before.

byte_gpt at 2x4 with a checkpoint every 10 steps; a rank drawn at random is killed in the middle of a
step drawn at random.  Cases, in turn: from memory; from a commit (byte_gpt --resume commit leaves the
memory alone); both job daemons killed, so that the memory is gone; and, without muster, a shell loop
around mpirun.  Then coordinator and agents without a job, for --idle seconds.

As root two hosts in namespaces; else, or with --embedded, `muster up` and no mpirun.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from common import BIN, Table, spread
from cluster import Cluster
from hosts import Hosts
from launch import LEAN, SAME, exec_helper
from processes import command_of, environment_of, pids, stat_of

MUSTER = os.path.join(BIN, "muster")
PROGRAM = os.path.join(BIN, "byte_gpt")
RANKS = 8
EVERY = 10
MARKS = {"failure_seen": "exit seen", "all_gone": "all gone", "ranks_forked": "forked",
         "mpi_up": "MPI up", "state_restored": "state read"}
OF_OLD = ("failure_seen", "all_gone")  # Marks of the attempt that failed.


class Failed(Exception):
    pass


class StepLog:
    """Lines of byte_gpt's --step-log as (life, step, time).  A life is what ran between two starts:
    under mpirun, which does not number them, each falling back begins one."""

    def __init__(self, path):
        self.path = path
        open(path, "w", encoding="ascii").close()

    def read(self):
        with open(self.path, encoding="ascii") as file:
            lines = [line.split() for line in file.read().split("\n")[:-1]]
        steps, fallen = [], 0
        for attempt, step, at_us, *_ in lines:
            if steps and int(step) <= steps[-1][1]:
                fallen += 1
            steps.append((max(int(attempt), fallen), int(step), int(at_us) / 1e6))
        return steps

    def until(self, found, timeout=60):
        """The first true thing that `found` makes of the steps."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            steps = self.read()
            value = found(steps)
            if value:
                return value
            time.sleep(0.004)
        raise Failed(f"no such step in {timeout} s; the last ones: {self.read()[-3:]}")

    def ranks(self):
        """Process by rank, of those that were started with this log."""
        found = {}
        for pid in pids():
            if self.path not in command_of(pid) or command_of(pid)[0] != PROGRAM:
                continue
            environment = environment_of(pid)
            rank = environment.get("MUSTER_RANK", environment.get("OMPI_COMM_WORLD_RANK"))
            if rank is not None:
                found[int(rank)] = pid
        return found


class Plan:
    """Whom to kill when: the same for all cases of a round."""

    def __init__(self, rng):
        self.victim = rng.randrange(RANKS)
        self.step = EVERY * rng.randrange(1, 3) + rng.randrange(1, EVERY - 1)
        self.fraction = rng.uniform(0.1, 0.9)  # Of the step after that one.

    def __str__(self):
        return f"rank {self.victim} {100 * self.fraction:.0f} % into step {self.step + 1}"


def in_mid_step(log, plan):
    """Waits for the planned moment, or for the same one of a later step if it is missed."""
    wanted = plan.step
    while True:
        steps = log.until(lambda s, w=wanted: s if s and s[-1][1] >= w else None)
        took = statistics.median(b[2] - a[2] for a, b in zip(steps, steps[1:]))
        last = steps[-1]
        if last[1] % EVERY not in (0, EVERY - 1):
            time.sleep(max(0, last[2] + plan.fraction * took - time.monotonic()))
            if log.read()[-1] == last:
                return
        wanted = last[1] + 1


def first_new_step(steps, life):
    before = max(step for of, step, _ in steps if of < life)
    return next((entry for entry in steps if entry[0] >= life and entry[1] > before), None)


def await_quiet(patience):
    """Until others leave the cores alone for half a second; False if `patience` seconds were not
    enough."""
    def idle():
        with open("/proc/stat", encoding="ascii") as file:
            return sum(map(int, file.readline().split()[4:6]))
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = idle()
        time.sleep(0.5)
        if idle() - before > 0.45 * os.cpu_count() * os.sysconf("SC_CLK_TCK"):
            return True
    return False


class Place:
    """A cluster that is up, and mpirun beside it where there are namespaces."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    def fresh(self, name):
        self.count += 1
        folder = os.path.join(self.folder, f"{name}{self.count}")
        os.mkdir(folder)
        return folder

    def muster(self, *arguments, check=True):
        command = self.wrap([MUSTER, arguments[0], "--cluster", self.cluster, *arguments[1:]])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=None if check else subprocess.DEVNULL, env=self.environment,
                              check=check, timeout=60)
        return done.stdout.decode(errors="replace")


class InNamespaces(Place):
    def __enter__(self):
        self.hosts = Hosts(2).__enter__()
        try:
            self.up = Cluster(self.hosts, self.folder, RANKS // 2, MUSTER).__enter__()
        except BaseException:
            self.hosts.close()
            raise
        self.cluster, self.environment = self.up.folder, dict(os.environ)
        self.helper = exec_helper(self.hosts, self.folder)
        return self

    def __exit__(self, *unused):
        self.up.close()
        self.hosts.close()

    def wrap(self, command):
        return self.hosts.command(-1, command)

    def parts(self):
        return {"coordinator" if index < 0 else f"agent n{index}": part.pid
                for index, part in self.up.parts.items()}


class Embedded(Place):
    def __enter__(self):
        self.environment = {**os.environ, "MUSTER_STATE_DIR": os.path.join(self.folder, "state")}
        done = subprocess.run([MUSTER, "up", "--json", "--nodes", "2", "--slots", str(RANKS // 2),
                               "--name", "restart"], stdin=subprocess.DEVNULL, check=True,
                              stdout=subprocess.PIPE, env=self.environment)
        self.cluster = json.loads(done.stdout)["state_dir"]
        return self

    def __exit__(self, *unused):
        subprocess.run([MUSTER, "down", "--name", "restart"], stdin=subprocess.DEVNULL, check=False,
                       stdout=subprocess.DEVNULL, env=self.environment)

    def wrap(self, command):
        return command

    def parts(self):
        found, agents = {}, 0
        for pid in sorted(pids()):
            command = command_of(pid)
            if command[:1] != [MUSTER] or self.cluster not in command:
                continue
            if command[1] == "agent":
                found[f"agent n{agents}"] = pid
                agents += 1
            elif command[1] == "coordinator":
                found["coordinator"] = pid
        return found


class MusterCase:
    def __init__(self, place, name, options=(), kill_daemons=False, came_from="from memory"):
        self.place, self.name, self.options = place, name, list(options)
        self.kill_daemons, self.came_from = kill_daemons, came_from
        self.seconds, self.redone, self.steps_ms, self.marks = [], [], [], []
        self.elsewhere = 0  # Kills after which it went on from elsewhere: not counted above.

    def run(self, plan):
        folder = self.place.fresh("case")
        log = StepLog(os.path.join(folder, "steps"))
        os.mkdir(os.path.join(folder, "store"))
        environment = [f"{name}={value}" for name, value in SAME.items()
                       if isinstance(self.place, InNamespaces)]
        job = json.loads(self.place.muster(
            "run", "--json", "--detach", "-N", "2", "--ranks-per-node", str(RANKS // 2),
            "--max-restarts", "3", "--checkpoint-store", os.path.join(folder, "store"), "--",
            "/usr/bin/env", *environment, PROGRAM, "--steps", "100000",
            "--checkpoint-every", str(EVERY), "--step-log", log.path, *self.options))["job"]
        try:
            log.until(lambda steps: len(steps) > 2)
            victims = [log.ranks()[plan.victim]]
            if self.kill_daemons:
                victims = {stat_of(pid)[1] for pid in log.ranks().values()}
            in_mid_step(log, plan)
            killed_at = time.monotonic()
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            life, _, at = log.until(lambda steps: first_new_step(steps, 1))
        finally:
            self.place.muster("cancel", "--now", str(job), check=False)
            self.place.muster("wait", str(job), check=False)
        story = self.story(job)
        if self.kept_promise(story, life):
            self.keep(log.read(), killed_at, at, life)
            self.keep_marks(story, killed_at, at, life)
            return True
        self.elsewhere += 1
        return False

    def story(self, job):
        lines = self.place.muster("events", "--json", str(job)).splitlines()
        return [json.loads(line)["story"] for line in lines if line.startswith('{"story"')]

    def kept_promise(self, story, life):
        """Did the attempt go on from where the case says?"""
        said = [s["text"] for s in story if s["attempt"] == life
                and s.get("text", "").startswith(("restored", "started from"))]
        if not said:
            raise Failed(f"{self.name}: attempt {life} did not say what it restored: {story}")
        return any(self.came_from in text for text in said)

    def keep(self, steps, killed_at, at, life):
        if life != 1:
            print(f"{self.name}: went on in life {life}, not 1", flush=True)
        of_old = [entry for entry in steps if entry[0] == 0]
        of_new = [entry for entry in steps if entry[0] == life]
        self.seconds.append(at - killed_at)
        self.redone.append(of_old[-1][1] - of_new[0][1] + 1)
        self.steps_ms.append(1000 * statistics.median(
            b[2] - a[2] for a, b in zip(of_old[5:], of_old[6:])))

    def keep_marks(self, story, killed_at, at, life):
        marks = {}
        for mark, label in MARKS.items():
            times = [s["at_us"] / 1e6 - killed_at for s in story
                     if s.get("mark") == mark and s["attempt"] == (0 if mark in OF_OLD else life)]
            if times:  # The first node that saw it; for all else the last node.
                marks[label] = min(times) if mark == "failure_seen" else max(times)
        marks["first new step"] = at - killed_at
        self.marks.append(marks)


class MpirunCase(MusterCase):
    """What there is without muster: until mpirun ...; do :; done."""

    def run(self, plan):
        place, settings = self.place, {**LEAN, **SAME}
        folder = place.fresh("case")
        log = StepLog(os.path.join(folder, "steps"))
        passed = [option for name in settings for option in ("-x", name)]
        command = ["mpirun", "--allow-run-as-root", "--oversubscribe",
                   "--mca", "plm_rsh_agent", place.helper, "--mca", "plm_rsh_no_tree_spawn", "1",
                   "--mca", "oob_tcp_if_include", "eth0",
                   "--host", ",".join(f"{place.hosts.address(i)}:{RANKS // 2}" for i in range(2)),
                   *passed, "-n", str(RANKS), PROGRAM, "--steps", "100000",
                   "--checkpoint-every", str(EVERY), "--step-log", log.path,
                   "--checkpoint-dir", os.path.join(folder, "store")]
        out = open(os.path.join(folder, "out"), "wb")
        loop = subprocess.Popen(place.wrap(["sh", "-c", 'until "$@"; do :; done', "sh", *command]),
                                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                start_new_session=True,
                                env={**os.environ, **settings})
        try:
            log.until(lambda steps: len(steps) > 2)
            victim = log.ranks()[plan.victim]
            in_mid_step(log, plan)
            killed_at = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            life, _, at = log.until(lambda steps: first_new_step(steps, 1))
        finally:
            self.end(loop, log)
        self.keep(log.read(), killed_at, at, life)
        return True

    @staticmethod
    def end(loop, log):
        """The ranks finish their step and exit with 0, and so the loop ends."""
        deadline = time.monotonic() + 30
        while loop.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(loop.pid, signal.SIGKILL)
                loop.wait()
                raise Failed("the loop around mpirun does not end")
            for pid in log.ranks().values():
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            time.sleep(0.5)


def report(table, case, bound=None, peer=None):
    print(f"  {case.name}: step {statistics.median(case.steps_ms):.0f} ms, done again "
          f"{statistics.median(case.redone):.0f} ({min(case.redone)}-{max(case.redone)})"
          + (f"; {case.elsewhere} more did not go on {case.came_from}" if case.elsewhere else ""))
    if case.marks:
        labels = [label for label in (*MARKS.values(), "first new step")
                  if all(label in marks for marks in case.marks)]
        medians = {label: round(1000 * statistics.median(m[label] for m in case.marks), 1)
                   for label in labels}
        print("  ms after kill(2): " + "   ".join(f"{k} {v:.0f}" for k, v in medians.items()))
    table.add(case.name, "s", case.seconds, peer.seconds if peer else None,
              "loop around mpirun" if peer else None, bound=bound,
              step_ms=round(statistics.median(case.steps_ms), 1),
              redone=statistics.median(case.redone), elsewhere=case.elsewhere,
              **({"marks_ms": medians} if case.marks else {}))


def usage(pid):
    """(Seconds of CPU of all threads, resident MiB)."""
    nanoseconds = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            nanoseconds += int(file.read().split()[0])
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    return nanoseconds / 1e9, resident / 1024


def idle(table, place, seconds):
    parts = place.parts()
    before = {name: usage(pid) for name, pid in parts.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    after = {name: usage(pid) for name, pid in parts.items()}
    for name in parts:
        table.add(f"idle {name}, memory", "MiB", [after[name][1]], bound=64)
        table.add(f"idle {name}, one core", "%",
                  [100 * (after[name][0] - before[name][0]) / took], bound=0.5, seconds=seconds)


def measure(place, options, table):
    namespaces = isinstance(place, InNamespaces)
    memory = MusterCase(place, "2x4 from memory")
    commit = MusterCase(place, "2x4 from a commit", ["--resume", "commit"],
                        came_from="from a commit")
    daemons = MusterCase(place, "2x4 both job daemons killed", kill_daemons=True,
                         came_from="from a commit")
    mpirun = MpirunCase(place, "2x4 loop around mpirun") if namespaces else None
    cases = [case for case in (memory, commit, daemons, mpirun) if case]
    chosen = [case for case in cases if not options.case or options.case in case.name]
    rng = random.Random(options.seed)
    disturbed = 0
    for number in range(options.runs):
        plan = Plan(rng)
        for case in chosen:
            disturbed += not await_quiet(options.patience)
            while not case.run(plan):
                plan = Plan(rng)
        chosen.reverse()
        print(f"  run {number + 1}, {plan}: "
              + ", ".join(f"{case.name} {case.seconds[-1]:.3f}" for case in cases if case in chosen),
              flush=True)
    print(f"  {disturbed} of {options.runs * len(chosen)} runs began while others used the cores")
    peer = mpirun if mpirun in chosen else None
    for case, bound in ((memory, 0.5), (commit, 0.7), (daemons, None)):
        if case in chosen:
            report(table, case, bound, peer)
    if peer:
        print(f"  {peer.name}: {spread(peer.seconds)} s, step "
              f"{statistics.median(peer.steps_ms):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10000))
    parser.add_argument("--case", default="", help="only the cases whose name has this")
    parser.add_argument("--embedded", action="store_true", help="on `muster up`, without mpirun")
    parser.add_argument("--idle", type=float, default=60, help="seconds; 0: leave it out")
    parser.add_argument("--patience", type=float, default=5,
                        help="seconds to wait before each run until others leave the cores alone")
    parser.add_argument("--quick", action="store_true", help="3 runs, and no idle time")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.idle = 3, 0
    folder = tempfile.mkdtemp(prefix="muster-bench-")
    table = Table("restart")
    place = (Embedded if options.embedded or os.geteuid() != 0 else InNamespaces)(folder)
    print(f"seed {options.seed}, {' '.join(f'{k}={v}' for k, v in {**LEAN, **SAME}.items())}")
    try:
        with place:
            measure(place, options, table)
            if options.idle:
                idle(table, place, options.idle)
    except Failed as problem:
        sys.exit(f"bench restart: {problem}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table.done()


if __name__ == "__main__":
    main()
