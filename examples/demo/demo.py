"""The main job, live: 16 ranks on two nodes train a byte-level GPT, one rank is killed, then the
coordinator, and the final parameters are the same, bit for bit, as of a run that nobody disturbed and
of a run on one rank.  Exit status 0 only if all of that held.

  demo [--seed N] [--you] [--steps N] [--plain]
"""

import argparse
import json
import os
import queue
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from screen import BOLD, GREEN, RED, RESET, Screen
from traces import Before, command_of, processes_with

NODES, SLOTS = 2, 8
STEPS_WITHOUT_COORDINATOR = 10
RANKS = NODES * SLOTS
CHECKPOINT_EVERY = 25
MARKS = ["failure_seen", "all_gone", "ranks_forked", "mpi_up", "state_restored", "first_step"]
LABELS = ["exit seen", "all gone", "forked", "MPI up", "state read", "first new step"]


class Failed(Exception):
    pass


class Job:
    """One run under muster, watched: `news` gets ("step", dict), ("event", dict) and ("end", status)."""

    def __init__(self, demo, name, steps, extra=()):
        self.demo, self.name = demo, name
        self.step_log = os.path.join(demo.folder, name + ".steps")
        self.news = queue.Queue()
        open(self.step_log, "w", encoding="ascii").close()
        started = demo.muster_json(
            "run", "--detach", "--name", name, "-N", str(NODES), "--ranks-per-node", str(SLOTS),
            "--max-restarts", "5", "--checkpoint-store", demo.store, "--",
            demo.program, "--steps", str(steps), "--checkpoint-every", str(CHECKPOINT_EVERY),
            "--step-log", self.step_log, "--hash", *extra)
        self.id = started["job"]
        self.watcher = subprocess.Popen(demo.muster("events", "--follow", "--json", str(self.id)),
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()
        threading.Thread(target=self._tail, daemon=True).start()

    def _watch(self):
        for line in self.watcher.stdout:
            if line.startswith(b'{"'):  # A failure is several lines; show() tells it better.
                self.news.put(("event", json.loads(line)))
        self.watcher.wait()
        self.ended.set()

    def _tail(self):
        with open(self.step_log, encoding="ascii") as file:
            rest = ""
            while True:
                last = self.ended.is_set()
                rest += file.read()
                *lines, rest = rest.split("\n")
                for line in lines:
                    attempt, step, at_us, loss, tokens = line.split()
                    self.news.put(("step", {"attempt": int(attempt), "step": int(step),
                                            "at": int(at_us) / 1e6, "loss": float(loss),
                                            "tokens": int(tokens)}))
                if last:
                    self.news.put(("end", None))
                    return
                time.sleep(0.02)

    def result(self):
        job = self.demo.muster_json("show", str(self.id))
        output = self.demo.check_output("logs", "--rank", "0", str(self.id))
        if job["state"] != "succeeded":
            raise Failed(f"{self.name}: {job['state']}:\n{output[-2000:]}")
        return hash_in(output), output


def hash_in(output):
    for line in output.splitlines():
        if "sha256 " in line:
            return line.split("sha256 ", 1)[1].split()[0]
    raise Failed("no hash in:\n" + output[-2000:])


class Demo:
    def __init__(self, options, bin_folder):
        self.options = options
        self.binary = os.path.join(bin_folder, "muster")
        self.program = os.path.join(bin_folder, "byte_gpt")
        self.folder = tempfile.mkdtemp(prefix="muster-demo-")
        self.store = os.path.join(self.folder, "store")
        os.mkdir(self.store)
        self.cluster = None
        self.before = Before()
        self.random = random.Random(options.seed)
        self.screen = Screen(NODES, SLOTS, options.plain)
        self.commits = []
        self.environment = {**os.environ, "MUSTER_STATE_DIR": os.path.join(self.folder, "state")}

    # ---- muster ---------------------------------------------------------------------------------

    def muster(self, verb, *arguments):
        return [self.binary, verb, "--cluster", self.cluster, *arguments]

    def check_output(self, verb, *arguments):
        done = subprocess.run(self.muster(verb, *arguments), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=True)
        return done.stdout.decode(errors="replace")

    def muster_json(self, verb, *arguments):
        return json.loads(self.check_output(verb, "--json", *arguments))

    def up(self):
        done = subprocess.run(
            [self.binary, "up", "--json", "--nodes", str(NODES), "--slots", str(SLOTS), "--name",
             "demo"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, env=self.environment)
        self.cluster = json.loads(done.stdout)["state_dir"]
        cookies = processes_with(MUSTER_CLUSTER_COOKIE=self.cookie())
        self.screen.say(f"an embedded cluster is up: {NODES} nodes x {SLOTS} slots, "
                        f"{len(cookies)} processes, mutual TLS on 127.0.0.1")

    def cookie(self):
        for pid in os.listdir("/proc"):
            if pid.isdigit() and self.cluster in command_of(pid):
                with open(f"/proc/{pid}/environ", "rb") as file:
                    for entry in file.read().split(b"\0"):
                        if entry.startswith(b"MUSTER_CLUSTER_COOKIE="):
                            return entry.split(b"=", 1)[1].decode()
        raise Failed("the cluster's processes were not found")

    def down(self):
        if self.cluster:
            subprocess.run([self.binary, "down", "--name", "demo"], check=False,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           env=self.environment)
            self.cluster = None

    # ---- the acts -------------------------------------------------------------------------------

    def measure(self):
        """Ten steps on each number of ranks; returns the number of steps that fit the time."""
        began = time.monotonic()
        alone = self._alone("measure-1", 10)
        per_step_alone = self._per_step(alone[1])
        job = Job(self, "measure", 10)
        steps = [news for kind, news in self._until_end(job) if kind == "step"]
        job.result()
        per_step = max((steps[-1]["at"] - steps[0]["at"]) / 9, 1e-3)
        start = time.monotonic() - began - 10 * (per_step + per_step_alone)
        steps = self.options.steps or max(80, min(400, int(80 / (2 * per_step + per_step_alone))))
        total = steps * (2 * per_step + per_step_alone) + 2 * max(start, 2)
        self.screen.say(f"measured 10 steps: {1000 * per_step:.0f} ms a step on {RANKS} ranks, "
                        f"{1000 * per_step_alone:.0f} ms on 1; three runs of {steps} steps will "
                        f"take about {total:.0f} s")
        return steps

    @staticmethod
    def _per_step(log):
        with open(log, encoding="ascii") as file:
            times = [int(line.split()[2]) / 1e6 for line in file]
        return (times[-1] - times[0]) / (len(times) - 1)

    def _alone(self, name, steps):
        log = os.path.join(self.folder, name + ".steps")
        done = subprocess.run([self.program, "--steps", str(steps), "--step-log", log, "--hash"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        return hash_in(done.stdout.decode(errors="replace")), log

    @staticmethod
    def _until_end(job):
        while True:
            kind, news = job.news.get(timeout=120)
            if kind == "end":
                return
            yield kind, news

    def choose(self, steps):
        """Which rank dies after which step; never right after a checkpoint."""
        first, last = steps // 4, steps // 2
        victim = self.random.randrange(RANKS)
        at = self.random.randrange(first, last)
        if self.options.you:
            victim = int(input(f"which rank shall die, 0 to {RANKS - 1}? "))
            at = int(input(f"after which step, {first} to {last - 1}? "))
            if not (0 <= victim < RANKS and first <= at < last):
                raise Failed("that rank or step is outside what was asked")
        if at % CHECKPOINT_EVERY == 0:
            at += 1
        self.screen.say(f"rank {victim} will be killed after step {at} "
                        f"(seed {self.options.seed}), the coordinator after step {3 * steps // 4}")
        return victim, at

    def disturbed(self, steps):
        victim, kill_at = self.choose(steps)
        job = Job(self, "disturbed", steps, ["--sample", "2"])
        run = Disturbance(self, job, victim, kill_at, steps)
        try:
            for kind, news in self._until_end(job):
                (run.on_step if kind == "step" else run.on_event)(news)
        finally:
            run.release_keeper()
        self.screen.finish()
        found, output = job.result()
        run.report()
        if not self.commits:
            raise Failed("no checkpoint was committed")
        print(f"\n{BOLD}two lines that the model wrote{RESET}")
        end = output.split("\ndone after", 1)[-1].splitlines()
        times = next((i for i, line in enumerate(end) if line.startswith("ms a step")), 0)
        written = end[times + 1:times + 3]
        if len(written) < 2 or "sha256" in " ".join(written):
            raise Failed("the model wrote nothing")
        for line in written[:2]:
            print("  " + line)
        return found

    def run(self):
        self.up()
        steps = self.measure()
        hashes = {"this run, disturbed, 16 ranks": self.disturbed(steps)}
        self.screen.say("the same again, undisturbed")
        job = Job(self, "undisturbed", steps)
        for _ in self._until_end(job):
            pass
        hashes["undisturbed, 16 ranks"] = job.result()[0]
        self.screen.say("the same on 1 rank, without muster")
        hashes["alone, 1 rank"] = self._alone("alone", steps)[0]
        self.down()
        return self.verdict(hashes)

    def verdict(self, hashes):
        shutil.rmtree(self.folder, ignore_errors=True)
        processes, files, ports = self.before.left()
        print(f"\nleft behind: {len(processes)} processes, {len(files)} files, {len(ports)} ports")
        for what in (*[" ".join(command_of(pid)) for pid in processes], *files, *ports):
            print(f"  {what}")
        print(f"\n{BOLD}SHA-256 of the 834,304 final parameters{RESET}")
        for name, value in hashes.items():
            print(f"  {name:32} {value}")
        equal = len(set(hashes.values())) == 1
        print(f"{GREEN}equal, bit for bit{RESET}" if equal else f"{RED}NOT equal{RESET}")
        return equal and not processes and not files and not ports


class Disturbance:
    """Kills one rank and later the coordinator, and keeps what the story needs."""

    def __init__(self, demo, job, victim, rank_at, steps):
        self.demo, self.job, self.screen = demo, job, demo.screen
        self.victim, self.rank_at, self.coordinator_at = victim, rank_at, 3 * steps // 4
        self.release_at = min(self.coordinator_at + STEPS_WITHOUT_COORDINATOR, steps - 1)
        self.killed_at = self.coordinator_killed_at = self.coordinator_back_at = None
        self.keeper = None  # While it is held.
        self.highest_before = 0
        self.first_new = None
        self.marks = {}
        self.steps = []
        self.highest = 0
        self.culprit = None

    def on_step(self, step):
        self.steps.append(step)
        if step["attempt"] == 0:
            self.highest_before = step["step"]
        elif self.first_new is None and step["step"] > self.highest_before:
            self.first_new = step["at"]
            self.screen.set_slots(self._slots("running"))
        if step["step"] > self.highest:
            self.highest = step["step"]
            self.screen.add_loss(step["step"], step["loss"], self._status(step))
        if self.killed_at is None and step["step"] >= self.rank_at:
            self._kill_rank()
        elif self.coordinator_killed_at is None and step["step"] >= self.coordinator_at:
            self._kill_coordinator()
        elif self.keeper and step["step"] >= self.release_at:
            self.release_keeper()

    def _status(self, step):
        recent = self.steps[-20:]
        seconds = max(recent[-1]["at"] - recent[0]["at"], 1e-6)
        rate = (recent[-1]["tokens"] - recent[0]["tokens"]) / seconds
        return (f"  step {step['step']}   loss {step['loss']:.3f}   {rate:,.0f} tokens/s   "
                f"attempt {step['attempt']}")

    def _slots(self, state):
        return {(n, s): state for n in range(NODES) for s in range(SLOTS)}

    def _kill_rank(self):
        found = processes_with(MUSTER_RANK=str(self.victim), MUSTER_JOB_ID=str(self.job.id))
        if not found:
            raise Failed(f"rank {self.victim} was not found in /proc")
        self.killed_at = time.monotonic()
        os.kill(found[0], signal.SIGKILL)
        slots = self._slots("stopped")
        slots[divmod(self.victim, SLOTS)] = "killed"
        self.screen.set_slots(slots)
        self.screen.say(f"{RED}kill -9{RESET} of rank {self.victim}, pid {found[0]}, "
                        f"after step {self.highest}")

    def _kill_coordinator(self):
        """Its keeper would have it back within a few steps, too soon to see much: it is held."""
        coordinator, self.keeper = self._part("coordinator"), self._part("keeper")
        os.kill(self.keeper, signal.SIGSTOP)
        self.coordinator_killed_at = time.monotonic()
        os.kill(coordinator, signal.SIGKILL)
        self.screen.say(f"{RED}kill -9{RESET} of the coordinator, pid {coordinator}; its keeper is "
                        f"held until step {self.release_at}")
        threading.Thread(target=self._await_coordinator, daemon=True).start()

    def _part(self, verb):
        found = [pid for pid in processes_with(MUSTER_CLUSTER_COOKIE=self.demo.cookie())
                 if command_of(pid)[1:2] == [verb]]
        if len(found) != 1:
            raise Failed(f"the {verb} was not found in /proc")
        return found[0]

    def release_keeper(self):
        if self.keeper:
            os.kill(self.keeper, signal.SIGCONT)
        self.keeper = None

    def _await_coordinator(self):
        """The next call that is answered ends the time without a coordinator."""
        self.demo.check_output("show", str(self.job.id))
        self.coordinator_back_at = time.monotonic()

    def on_event(self, event):
        story = event.get("story", {})
        if "mark" in story:
            self._mark(story)
        elif story.get("text"):
            text = story["text"]
            self.screen.say(text)
            if f"rank {self.victim} " in text and self.culprit is None:
                self.culprit = text
        progress = event.get("progress", {})
        committed = progress.get("committed_step", 0)
        if committed and committed not in self.demo.commits:
            self.demo.commits.append(committed)
            self.screen.say(f"{GREEN}checkpoint committed{RESET}: step {committed}")
        job = event.get("job")
        if job and self.killed_at is None:
            self.screen.set_slots(self._slots("running" if job["state"] == "running" else "stopped"))

    def _mark(self, story):
        """The first node that saw the failure; for all else the last node."""
        mark, at = story["mark"], story["at_us"] / 1e6
        of_old = mark in MARKS[:2]
        if self.killed_at is None or story["attempt"] != (0 if of_old else 1):
            return
        if mark == MARKS[0]:
            self.marks[mark] = min(at, self.marks.get(mark, at))
        else:
            self.marks[mark] = max(at, self.marks.get(mark, 0))

    def report(self):
        if self.killed_at is None or self.coordinator_killed_at is None:
            raise Failed("the job ended before anything was killed")
        print(f"\n{BOLD}the culprit{RESET}\n  {self.culprit}")
        print(f"\n{BOLD}recovery{RESET}, ms after kill -9 of rank {self.victim}")
        times = {**self.marks, MARKS[-1]: self.first_new}
        missing = [label for mark, label in zip(MARKS, LABELS) if not times.get(mark)]
        print("  " + "   ".join(f"{label} {1000 * (times[mark] - self.killed_at):.0f}"
                                for mark, label in zip(MARKS, LABELS) if times.get(mark)))
        print(f"\n{BOLD}while the coordinator was dead{RESET}")
        slow = self._slow_steps()
        if missing:
            raise Failed("not seen: " + ", ".join(missing))
        if self.culprit is None:
            raise Failed("nobody named the culprit")
        if slow:
            raise Failed("a step was slower than usual while the coordinator was dead")

    def _slow_steps(self):
        dead, usual = [], []
        back = self.coordinator_back_at or time.monotonic()
        for before, step in zip(self.steps, self.steps[1:]):
            if before["attempt"] != step["attempt"] or step["step"] < 5:
                continue
            inside = before["at"] >= self.coordinator_killed_at - 0.001 and before["at"] <= back
            (dead if inside else usual).append(step["at"] - before["at"])
        if not dead:
            raise Failed("no step was made while the coordinator was dead")
        print(f"  {back - self.coordinator_killed_at:.2f} s; {len(dead)} steps, median "
              f"{1000 * statistics.median(dead):.0f} ms, slowest {1000 * max(dead):.0f} ms; "
              f"otherwise median {1000 * statistics.median(usual):.0f} ms, "
              f"slowest {1000 * max(usual):.0f} ms")
        return max(dead) > 1.5 * max(usual)


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10000),
                        help="chooses the victim and the step; printed, so that a run can be repeated")
    parser.add_argument("--you", action="store_true", help="you choose the victim and the step")
    parser.add_argument("--steps", type=int, help="instead of as many as fit two minutes")
    parser.add_argument("--plain", action="store_true", help="no drawing, only lines")
    options = parser.parse_args()
    demo = Demo(options, options.bin)
    try:
        good = demo.run()
    except (Failed, subprocess.SubprocessError, queue.Empty) as problem:
        demo.screen.finish()
        print(f"\n{RED}the demo failed{RESET}: {problem!r}" if not str(problem)
              else f"\n{RED}the demo failed{RESET}: {problem}", file=sys.stderr)
        good = False
    finally:
        demo.down()
        shutil.rmtree(demo.folder, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
