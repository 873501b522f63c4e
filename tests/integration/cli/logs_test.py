"""What ranks write, as people and scripts see it: whole lines in order, filters, restarts, slow readers,
and the logs of a job that ended long ago.

usage: logs_test.py BIN [TEST...]
"""

import base64
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
sys.path.insert(0, HERE)

import promises  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
MUSTER = os.path.join(BIN, "muster")
PATIENCE = 60
FULL = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d (n\d) (\d+)\| (.*)")


def until(holds, what):
    deadline = time.monotonic() + PATIENCE
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.01)
    return value


def lines_of(text, rank):
    mark = f"[{rank}] "
    return [line[len(mark):] for line in text.splitlines() if line.startswith(mark)]


class Logs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.state = os.path.join(cls.folder, "state")
        os.environ["MUSTER_STATE_DIR"] = cls.state
        cls.addClassCleanup(cls.muster, "down")
        cls.muster("up", "--nodes", "2", "--slots", "4")

    @staticmethod
    def muster(*words, expect=0):
        done = subprocess.run([MUSTER, *words], check=False, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE)
        if done.returncode != expect:
            raise AssertionError(f"{words}: exit {done.returncode}\n{done.stderr.decode()}")
        return done

    def run_job(self, script, *options, nodes=2, ranks=1, expect=0):
        done = self.muster("run", "-N", str(nodes), "--ranks-per-node", str(ranks), *options, "--",
                           "/bin/sh", "-c", script, expect=expect)
        return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def submit(self, script, *options, nodes=2, ranks=1):
        done = self.muster("run", "--detach", "-N", str(nodes), "--ranks-per-node", str(ranks),
                           *options, "--", "/bin/sh", "-c", script)
        return done.stdout.decode().strip()

    def logs(self, job, *options):
        return self.muster("logs", *options, job).stdout.decode(errors="replace")

    def file(self, name):
        return os.path.join(self.folder, f"{self.id().rsplit('.', 1)[1]}-{name}")

    # ---- lines ----------------------------------------------------------------------------------

    def test_each_line_has_time_node_and_rank(self):
        out, err = self.run_job("echo hello; echo $RANK >&2", "--prefix", "full")
        self.assertEqual(sorted(FULL.fullmatch(line).groups() for line in out.splitlines()),
                         [("n0", "0", "hello"), ("n1", "1", "hello")])
        said = [FULL.fullmatch(line) for line in err.splitlines()]
        self.assertEqual(sorted(found.groups() for found in said if found),
                         [("n0", "0", "0"), ("n1", "1", "1")], err)

    def test_lines_of_many_ranks_stay_whole_and_in_order(self):
        script = ("i=0; while [ $i -lt 2000 ]; do echo \"$RANK $i ${i}x${i}x$i $RANK\"; "
                  "i=$((i+1)); done")
        out, _ = self.run_job(script, ranks=4)
        for rank in range(8):
            self.assertEqual(lines_of(out, rank),
                             [f"{rank} {i} {i}x{i}x{i} {rank}" for i in range(2000)])
        self.assertEqual(len(out.splitlines()), 16000)

    def test_bytes_and_endless_lines_come_through(self):
        script = ("printf 'a\\000b\\377\\n'; head -c 3000000 /dev/zero | tr '\\0' x; "
                  "printf 'no end'")
        job = self.submit(script, nodes=1)
        self.muster("wait", job)
        raw = self.muster("logs", "--prefix", "none", job).stdout
        self.assertEqual(raw, b"a\0b\xff\n" + b"x" * 3000000 + b"no end")
        pieces = [json.loads(line) for line in self.logs(job, "--json").splitlines()]
        self.assertEqual(base64.b64decode(pieces[0]["base64"]), b"a\0b\xff")
        self.assertEqual("".join(piece["text"] for piece in pieces[1:]), "x" * 3000000 + "no end")
        self.assertEqual({(p["node"][0], p["rank"], p["attempt"], p["stream"]) for p in pieces},
                         {("n", 0, 0, "stdout")})
        self.assertRegex(pieces[0]["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")

    # ---- choosing -------------------------------------------------------------------------------

    def test_filters(self):
        job = self.submit("echo out; echo err >&2", ranks=2)
        self.muster("wait", job)
        self.assertEqual(self.logs(job, "--rank", "1"), "out\n")
        self.assertEqual(sorted(self.logs(job, "--rank", "0,2-3").splitlines()),
                         ["[0] out", "[2] out", "[3] out"])
        node = self.logs(job, "--prefix", "full", "--rank", "0")
        first = FULL.fullmatch(node.strip()).group(1)
        other = "n1" if first == "n0" else "n0"
        self.assertEqual(sorted(self.logs(job, "--node", other).splitlines()),
                         ["[2] out", "[3] out"])
        done = self.muster("logs", "--stream", "err", "--rank", "3", job)
        self.assertEqual((done.stdout, done.stderr), (b"", b"err\n"))
        self.assertIn(b"no rank 4", self.muster("logs", "--rank", "4", job, expect=2).stderr)
        self.assertIn(b"no node 'n7'", self.muster("logs", "--node", "n7", job, expect=2).stderr)
        self.assertIn(b"found '3-1'", self.muster("logs", "--rank", "3-1", job, expect=2).stderr)
        out, err = self.run_job("echo out; echo err >&2", "--show-ranks", "1", "--show-stream", "out")
        self.assertEqual(out, "out\n")
        self.assertNotIn("err\n", err)

    def test_tail_and_since(self):
        go = self.file("go")
        job = self.submit(f"seq 100; while [ ! -e {go} ]; do sleep 0.02; done; echo new", nodes=1)
        until(lambda: self.logs(job).endswith("100\n"), "the first lines")
        self.assertEqual(self.logs(job, "--tail", "3"), "98\n99\n100\n")
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 1.5, "time passes")
        with open(go, "w", encoding="ascii"):
            pass
        self.muster("wait", job)
        passed = int((time.monotonic() - began) * 1000)
        self.assertEqual(self.logs(job, "--since", f"{passed}ms"), "new\n")
        self.assertEqual(len(self.logs(job, "--since", "1h").splitlines()), 101)
        self.assertEqual(self.logs(job, "--tail", "1"), "new\n")

    # ---- restarts -------------------------------------------------------------------------------

    def restarts(self):
        """Rank 1 fails twice, but not before rank 0 has said that it is there."""
        said = os.path.join(self.folder, "said-$MUSTER_JOB_ID-$TORCHELASTIC_RESTART_COUNT")
        return ("echo attempt $TORCHELASTIC_RESTART_COUNT of $RANK; printf cut; "
                f"[ $RANK = 0 ] && touch {said}; while [ ! -e {said} ]; do sleep 0.01; done; "
                "[ $RANK = 1 ] && [ $TORCHELASTIC_RESTART_COUNT -lt 2 ] && exit 3; "
                "[ $TORCHELASTIC_RESTART_COUNT -lt 2 ] && exec sleep 1000; echo; echo done")

    def test_following_goes_on_across_restarts(self):
        out, _ = self.run_job(self.restarts(), "--max-restarts", "2")
        self.assertEqual([line for line in lines_of(out, 1) if line != "cut"],
                         [f"attempt {n} of 1" for n in range(3)] + ["done"])
        attempts = [line for line in lines_of(out, 0) if line.startswith("attempt")]
        self.assertEqual(attempts, sorted(attempts))
        job = self.submit(self.restarts(), "--max-restarts", "2")
        follow = self.muster("logs", "-f", "--rank", "1", job).stdout.decode()
        self.muster("wait", job)
        self.assertEqual(follow, "attempt 0 of 1\ncut" "attempt 1 of 1\ncut" "attempt 2 of 1\ncut\n"
                         "done\n")
        self.assertEqual(self.logs(job, "--rank", "1"), follow)
        self.assertEqual(self.logs(job, "--rank", "1", "--attempt", "0"), "attempt 0 of 1\ncut")

    def test_run_says_why_it_starts_again(self):
        command = ("-N", "2", "--ranks-per-node", "1", "--max-restarts", "2", "--", "sh", "-c", self.restarts())
        done = self.muster("run", *command)
        said = [line for line in done.stderr.decode().splitlines() if "starts again" in line]
        self.assertEqual(len(said), 2, done.stderr)
        self.assertRegex(said[1], r"^muster: rank 1 on n\d \(slot 0\) left with exit status 3 at .*; job \d+ starts "
                         r"again \(restart 2 of 2\)$")
        done = self.muster("run", "--json", *command)
        lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
        self.assertEqual([(line["restart"], line["rank"], line["cause"]["code"])
                          for line in lines if "restart" in line], [(1, 1, 3), (2, 1, 3)])

    def test_logs_of_an_ended_job_outlive_coordinator_and_agents(self):
        job = self.submit(self.restarts(), "--max-restarts", "2")
        self.muster("wait", job)
        before = sorted(self.logs(job, "--json").splitlines())
        mine = [json.loads(line) for line in before if json.loads(line)["rank"] == 1]
        self.assertEqual(sum(line["text"].startswith("attempt") for line in mine), 3)
        for part in ("coordinator", "agent"):
            for pid in self.pids_of(part):
                os.kill(pid, signal.SIGKILL)
        until(lambda: len(self.pids_of("agent")) == 2, "the agents are back")
        until(lambda: json.loads(self.muster("nodes", "--json").stdout)
              and not any(node["lost"] for node in
                          json.loads(self.muster("nodes", "--json").stdout)), "the nodes are back")
        self.assertEqual(sorted(self.logs(job, "--json").splitlines()), before)

    def test_lines_flow_again_after_each_death_of_the_coordinator(self):
        number = self.file("round")
        script = f"while :; do read round < {number}; echo $round; sleep 0.001; done"
        with open(number, "w", encoding="utf-8") as file:
            file.write("0\n")
        with subprocess.Popen([MUSTER, "run", "-N", "2", "--ranks-per-node", "1", "--", "/bin/sh",
                               "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as run:
            watchdog = threading.Timer(PATIENCE, run.kill)
            watchdog.start()
            for count in range(4):
                if count > 0:  # Four times in a row the keeper would not have it.
                    before = self.pids_of("coordinator")
                    os.kill(before[0], signal.SIGKILL)
                    until(lambda before=before: set(self.pids_of("coordinator")) - set(before),
                          "a new coordinator")
                with open(number + "-new", "w", encoding="utf-8") as file:
                    file.write(f"{count}\n")
                os.rename(number + "-new", number)
                waiting = {b"[%d] %d\n" % (rank, count) for rank in (0, 1)}
                while waiting:
                    line = run.stdout.readline()
                    self.assertTrue(line, f"round {count}: {waiting} did not come")
                    waiting.discard(line)
            run.send_signal(signal.SIGTERM)
            run.stdout.read()
            watchdog.cancel()

    def test_logs_can_be_read_after_the_cluster_was_down(self):
        job = self.submit(self.restarts(), "--max-restarts", "2")
        self.muster("wait", job)
        before = sorted(self.logs(job, "--json").splitlines())
        self.assertEqual(sum("attempt" in json.loads(line)["text"] for line in before), 6)
        self.muster("down")
        self.muster("up", "--nodes", "2", "--slots", "4")
        self.assertEqual(sorted(self.logs(job, "--json").splitlines()), before)
        self.assertEqual(self.logs(job, "--rank", "1", "--tail", "1"), "done\n")

    def pids_of(self, part):
        """Of this cluster's coordinator or agents: our state folder stands on their command lines."""
        pids = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if len(words) > 2 and words[1] == part.encode() and any(
                    word.startswith(self.state.encode()) for word in words):
                pids.append(int(path.split("/")[2]))
        return pids

    # ---- slow readers ---------------------------------------------------------------------------

    def test_a_pipe_that_nobody_reads_slows_nobody_and_loses_nothing(self):
        ended = self.file("ended")
        run = subprocess.Popen(
            [MUSTER, "run", "-N", "1", "--ranks-per-node", "1", "--", "/bin/sh", "-c",
             f"seq 1500000; touch {ended}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda: os.path.exists(ended), "the job goes on")
        out, err = run.communicate(timeout=PATIENCE)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual(out, "".join(f"{i}\n" for i in range(1, 1500001)).encode())

    def test_a_stopped_terminal_slows_nobody_and_is_told_what_it_missed(self):
        from terminal_test import Terminal  # pylint: disable=import-outside-toplevel
        ended, end = self.file("ended"), self.file("end")
        run = Terminal([MUSTER, "run", "-N", "2", "--ranks-per-node", "1", "--behind", "1", "--",
                        "/bin/sh", "-c", f"seq 800000; touch {ended}$RANK; "
                        f"while [ ! -e {end} ]; do sleep 0.02; done; echo the end"])
        until(lambda: os.path.exists(ended + "0") and os.path.exists(ended + "1"),
              "the job goes on")
        run.read_until(b"| 800000\r\n")
        with open(end, "w", encoding="ascii"):
            pass
        run.read_until(None)
        self.assertEqual(run.end(), 0)
        text = run.output.decode().replace("\r", "")
        for rank in ("0", "1"):
            skipped = sum(int(number.replace(",", "")) for number in re.findall(
                rf"^\[muster\] ([0-9,]+) lines? of rank {rank} skipped here", text, re.MULTILINE))
            shown = [found.group(3) for found in map(FULL.fullmatch, text.splitlines())
                     if found and found.group(2) == rank]
            self.assertGreater(skipped, 0)
            self.assertEqual(skipped + len(shown), 800001)
            self.assertEqual(shown[-2:], ["800000", "the end"])
            numbers = [int(line) for line in shown[:-1]]
            self.assertEqual(numbers, sorted(set(numbers)))


    def test_a_stopped_run_slows_nobody_and_is_told_what_it_missed(self):
        from terminal_test import Terminal  # pylint: disable=import-outside-toplevel
        go, ended, end = self.file("go"), self.file("ended"), self.file("end")
        run = Terminal([MUSTER, "run", "--ranks-per-node", "1", "--prefix", "full", "--behind", "1", "--",
                        "/bin/sh", "-c", f"echo 0; while [ ! -e {go} ]; do sleep 0.02; done; "
                        f"seq 800000; touch {ended}; while [ ! -e {end} ]; do sleep 0.02; done"])
        run.read_until(b"| 0\r\n")
        run.process.send_signal(signal.SIGSTOP)
        try:
            with open(go, "w", encoding="ascii"):
                pass
            until(lambda: os.path.exists(ended), "the job goes on")
        finally:
            run.process.send_signal(signal.SIGCONT)
        run.read_until(b"| 800000\r\n")
        with open(end, "w", encoding="ascii"):
            pass
        run.read_until(None)
        self.assertEqual(run.end(), 0)
        text = run.output.decode().replace("\r", "")
        skipped = sum(int(number.replace(",", "")) for number in re.findall(
            r"^\[muster\] ([0-9,]+) lines? of rank 0 skipped here", text, re.MULTILINE))
        shown = [int(found.group(3)) for found in map(FULL.fullmatch, text.splitlines()) if found]
        self.assertGreater(skipped, 0)
        self.assertEqual(skipped + len(shown), 800001)
        self.assertEqual(shown, sorted(set(shown)))


class FullDisk(unittest.TestCase):
    """The logs of a cluster of one node lie on a disk of its own, of 300 KiB, a third of it taken."""

    LINES = 9000
    LOUD = (f"i=0; while [ $i -lt {LINES} ]; do echo line $i of a program that prints a lot; "
            "i=$((i+1)); done; ")

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("skipped: needs root (a mount)")
        folder = self.enterContext(tempfile.TemporaryDirectory())
        logs = os.path.join(folder, "full", "logs")
        os.makedirs(logs)
        environment = {**os.environ, "MUSTER_STATE_DIR": folder}
        self.name = lambda name: os.path.join(folder, name)
        self.call = lambda *words: subprocess.run(
            [MUSTER, *words], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, env=environment)
        up = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"mount -t tmpfs -o size=300k logs {logs} && head -c 100k /dev/urandom > {logs}/filler "
             f"&& exec {MUSTER} up --json --name full --slots 1"],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
        self.addCleanup(self.call, "down", "--name", "full")
        # The mount is seen by those who live in the cluster.
        self.filler = f"/proc/{json.loads(up.stdout)['keeper_pid']}/root{logs}/filler"

    def test_training_goes_on_and_the_log_tells_what_it_misses(self):
        full, room = self.name("is-full"), self.name("room")
        job = self.call("run", "--detach", "--", "/bin/sh", "-c", self.LOUD + f"touch {full}; "
                        f"while [ ! -e {room} ]; do sleep 0.02; done; echo room").stdout.strip()
        until(lambda: os.path.exists(full), "it goes on")
        os.remove(self.filler)
        until(lambda: "lines could not be written here" in self.call("logs", job).stdout, "the gap")
        with open(room, "w", encoding="ascii"):
            pass
        self.assertEqual(self.call("wait", job).returncode, 0)
        told = self.call("events", job).stdout
        self.assertIn("the log of rank 0's stdout cannot be written: No space left on device; its "
                      "lines are counted and dropped until it can", told)
        self.assertIn("the logs can be written again; each says what it misses", told)
        lines = self.call("logs", job).stdout.splitlines()
        gap = next(i for i, line in enumerate(lines) if line.startswith("[muster] "))
        lost = int(re.match(r"\[muster\] (\d+) lines could not be written here between .*: No space "
                            "left on device$", lines[gap]).group(1))
        whole = [line for line in lines[:gap] if line.endswith("of a program that prints a lot")]
        self.assertEqual(whole, [f"line {i} of a program that prints a lot"
                                 for i in range(len(whole))])
        self.assertEqual(len(whole) + lost, self.LINES)
        self.assertEqual(lines[-1], "room")

    def test_the_verdict_has_the_last_words_all_the_same(self):
        run = self.call("run", "--", "/bin/sh", "-c", self.LOUD + "seq 5 >&2; echo it broke >&2; exit 3")
        self.assertEqual(run.returncode, 3, run.stderr)
        self.assertIn("of rank 0 on n0 (slot 0):\n    1\n    2\n    3\n    4\n    5\n    it broke\n",
                      run.stderr)
        job = json.loads(self.call("list", "--all", "--json").stdout)[0]["job"]
        self.assertEqual(self.call("logs", "--stream", "err", str(job)).stderr, "")


if __name__ == "__main__":
    promises.main()
