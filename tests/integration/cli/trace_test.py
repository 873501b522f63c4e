"""`muster trace`: what the ranks of a job did last, also of a rank that was killed, and while it runs.

usage: trace_test.py BIN [TEST...]
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402
from command import Command, await_that  # noqa: E402
from processes import command_of, environment_of, pids  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
MUSTER = os.path.join(BIN, "muster")
BYTE_GPT = os.path.join(BIN, "byte_gpt")
RANKS = 4
VICTIM = 3


def start(*program):
    done = subprocess.run([MUSTER, "run", "--detach", "-N", "2", "--ranks-per-node", "2", "--",
                           *program], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def trace(*words):
    command = Command([MUSTER, "trace", *words])
    command.exit = command.end()
    return command


def pid_of(job, rank):
    for pid in pids():
        environment = environment_of(pid)
        if (command_of(pid)[:1] == [BYTE_GPT] and environment.get("MUSTER_RANK") == str(rank)
                and environment.get("MUSTER_JOB_ID") == job):
            return pid
    return None


def step_of(job):
    shown = subprocess.run([MUSTER, "show", "--json", job], stdout=subprocess.PIPE, check=True)
    return (json.loads(shown.stdout).get("progress") or {}).get("step", 0)


class Trace(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        subprocess.run([MUSTER, "up", "--nodes", "2", "--slots", "2"], check=True,
                       stdout=subprocess.DEVNULL)
        cls.addClassCleanup(subprocess.run, [MUSTER, "down"], check=True)
        cls.job = start(BYTE_GPT, "--steps", "100000")
        await_that("some steps are done", lambda: step_of(cls.job) >= 3)
        cls.running = trace(cls.job)
        os.kill(pid_of(cls.job, VICTIM), signal.SIGKILL)
        subprocess.run([MUSTER, "wait", cls.job], stderr=subprocess.DEVNULL, check=False)

    def events_by_rank(self, text):
        """The complete events of each rank, and where its process is."""
        events = json.loads(text)["traceEvents"]
        rank_of, node_of = {}, {}
        for event in events:
            if event["ph"] == "M" and event["name"] == "thread_name":
                rank_of[event["pid"], event["tid"]] = int(
                    re.match(r"rank (\d+)", event["args"]["name"])[1])
            elif event["ph"] == "M":
                node_of[event["pid"]] = event["args"]["name"]
        ranks = {}
        for event in events:
            if event["ph"] == "X":
                rank = rank_of[event["pid"], event["tid"]]
                ranks.setdefault(rank, []).append(event)
                self.assertEqual(node_of[event["pid"]], f"node n{rank // 2}")
        return ranks

    def check_whole(self, text):
        ranks = self.events_by_rank(text)
        self.assertEqual(sorted(ranks), list(range(RANKS)))
        for events in ranks.values():
            kinds = {event["cat"] for event in events}
            self.assertLessEqual({"compute", "communication"}, kinds)
        return ranks

    # ---- while it runs ----------------------------------------------------------------------------

    def test_shows_a_job_that_runs(self):
        self.assertEqual(self.running.exit, 0, self.running.text)
        self.check_whole(self.running.out.decode())

    # ---- after a death ----------------------------------------------------------------------------

    def test_has_what_a_killed_rank_did_last(self):
        done = trace(self.job, "-o", "trace.json")
        self.assertEqual((done.exit, done.out), (0, b""), done.text)
        with open("trace.json", encoding="utf-8") as file:
            ranks = self.check_whole(file.read())
        # It was in step with the others when it died: one call apart at most.
        last = {rank: max(event["args"]["seq"] for event in events
                          if event["cat"] == "communication"
                          and event["args"]["group"] == "training")
                for rank, events in ranks.items()}
        self.assertLessEqual(max(last.values()) - last[VICTIM], 1, last)
        ranks = {rank: [event for event in events if event["name"] == "all_reduce"
                        and event["args"]["group"] == "training"] for rank, events in ranks.items()}
        reduces = ranks[VICTIM]
        self.assertTrue(reduces)
        self.assertTrue(all(event["args"]["bytes"] > 3_000_000 for event in reduces))
        # On one axis: no rank left a call of all before the last one entered it.
        calls = {}
        for events in ranks.values():
            for event in events:
                if "state" not in event["args"]:
                    calls.setdefault(event["args"]["seq"], []).append(event)
        whole = [call for call in calls.values() if len(call) == RANKS]
        self.assertTrue(whole)
        for call in whole:
            entered = max(event["ts"] for event in call)
            left = min(event["ts"] + event["dur"] for event in call)
            self.assertLess(entered, left + 1000)  # The two clocks are read a moment apart.

    def test_says_who_is_behind(self):
        done = trace("--last", self.job)
        self.assertEqual(done.exit, 0, done.text)
        lines = done.out.decode().splitlines()
        self.assertIn("GROUP training", lines)
        told = json.loads(trace("--last", "--json", self.job).out)
        self.assertEqual(told["sentence"], lines[-1])
        self.assertRegex(told["sentence"], r"^(ranks? \d|every rank|no rank is behind)")
        group = next(group for group in told["groups"] if group["group"] == "training")
        self.assertEqual([rank["rank"] for rank in group["ranks"]], list(range(RANKS)))

    def test_writes_what_pytorchs_analyzer_takes(self):
        done = trace("--format", "flight", self.job, "-o", "rank_")
        self.assertEqual(done.exit, 0, done.text)
        for rank in range(RANKS):
            with open(f"rank_{rank}", encoding="utf-8") as file:
                dump = json.load(file)
            self.assertEqual(dump["rank"], rank)
            self.assertTrue(dump["entries"])
            for entry in dump["entries"]:
                self.assertIn(entry["process_group"][0], dump["pg_config"])
                self.assertRegex(entry["profiling_name"], "^nccl:[a-z_]+( |$)")

    def test_takes_only_the_ranks_that_are_asked_for(self):
        done = trace("--rank", f"{VICTIM}", "--attempt", "0", self.job)
        self.assertEqual(list(self.events_by_rank(done.out.decode())), [VICTIM])

    # ---- errors -----------------------------------------------------------------------------------

    def test_says_why_there_is_nothing(self):
        plain = start("/bin/true")
        subprocess.run([MUSTER, "wait", plain], check=True)
        for words, status, said in (
                (("999",), 2, "job 999"),
                ((plain,), 1, "only programs on libmuster's training loop have a flight recorder"),
                ((self.job, "--attempt", "7"), 2, "has no attempt 7; its newest is 0"),
                ((self.job, "--rank", "9"), 2, "9"),
                ((self.job, "--format", "pprof"), 2, "chrome"),
                ((self.job, "-o", "no/such/folder/x"), 1, "no/such/folder")):
            done = trace(*words)
            self.assertEqual((done.exit, done.out), (status, b""), (words, done.text))
            self.assertIn(said, done.text, words)


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    promises.main()
