"""Real programs, as people have them, under muster on two nodes.

usage: scripts_test.py BIN GROUP [Scripts.test_NAME...]

Each folder beside this file is one program and a file `expect` (expected.py).
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
sys.path.insert(0, HERE)

import promises  # noqa: E402
import surroundings  # noqa: E402
from expected import Expect, misfits, without_rank  # noqa: E402

BIN = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 2 else ""
GROUP = sys.argv.pop(1) if len(sys.argv) > 1 else ""
NODES, SLOTS = 2, 2
TIMEOUT = 120  # Seconds, for what takes ten at most.
SWEPT = 30  # Seconds, for what takes a fraction of one.


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Scripts(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="muster-scripts-"))
        cls.environment = surroundings.environment(BIN)
        cls.muster("up", "--nodes", str(NODES), "--slots", str(SLOTS))
        cls.addClassCleanup(cls.muster, "down")

    @classmethod
    def muster(cls, *arguments):
        subprocess.run([os.path.join(BIN, "muster"), *arguments], check=True, env=cls.environment,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def judge(self, expect):
        environment = dict(self.environment)
        for need in expect.needs:
            missing = surroundings.prepare(need, environment)
            if missing:
                self.skipTest(f"skipped: needs {missing}")
        place = shutil.copytree(expect.place, os.path.join(self.folder, expect.name))
        for command in expect.builds:
            subprocess.run(command, check=True, cwd=place, env=environment)
        done = subprocess.run([os.path.join(BIN, "muster"), *expect.run], cwd=place, check=False,
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIMEOUT)
        out = [without_rank(line)
               for line in done.stdout.decode("utf-8", "surrogateescape").splitlines()]
        said = done.stderr.decode("utf-8", "replace")
        wrong = misfits(out, expect.out)
        for count, pattern in expect.err:
            seen = sum(1 for line in said.splitlines() if pattern.search(line))
            if seen != count:
                wrong.append(f"{seen} lines of stderr instead of {count} hold: {pattern.pattern}")
        if done.returncode != expect.exit:
            wrong.append(f"exit {done.returncode}, not {expect.exit}")
        wrong += self.still_there(place, expect.gone)
        self.assertEqual(wrong, [], "\n".join(wrong) + "\n--- stdout\n" + "\n".join(out) +
                         "\n--- stderr\n" + said)

    @staticmethod
    def still_there(place, patterns, patience=SWEPT):
        """The cluster sweeps when a job has ended, and nobody waits for that but we."""
        wrong = []
        deadline = time.monotonic() + patience
        for pattern in patterns:
            files = glob.glob(os.path.join(place, pattern))
            if not files:
                wrong.append(f"no file {pattern}")
            for path in files:
                with open(path, encoding="ascii") as file:
                    pid = int(file.read())
                while is_alive(pid) and time.monotonic() < deadline:
                    time.sleep(0.01)
                if is_alive(pid):
                    wrong.append(f"process {pid} of {os.path.basename(path)} is still there")
        return wrong


def add_tests():
    for path in sorted(glob.glob(os.path.join(HERE, "*", "expect"))):
        expect = Expect(os.path.dirname(path))
        if expect.group == GROUP:
            setattr(Scripts, "test_" + expect.name,
                    lambda self, expect=expect: self.judge(expect))


class Judgement(unittest.TestCase):
    """The judge itself."""

    EXPECTED = [(2, re.compile("a")), (1, re.compile("b+"))]

    def test_every_line_is_expected_and_as_often_as_said(self):
        self.assertEqual(misfits(["a", "bb", "a"], self.EXPECTED), [])
        self.assertEqual(misfits(["a", "b", "a", "c"], self.EXPECTED), ["not expected: 'c'"])
        self.assertEqual(misfits(["a", "b"], self.EXPECTED), ["1 lines instead of 2 are: a"])
        self.assertEqual(misfits(["a", "a", "b", "b"], self.EXPECTED),
                         ["2 lines instead of 1 are: b+"])

    def test_a_process_that_stays_is_seen(self):
        with tempfile.TemporaryDirectory() as place:
            path = os.path.join(place, "daemon.pid")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            self.assertEqual(Scripts.still_there(place, ["*.pid"], patience=0),
                             [f"process {os.getpid()} of daemon.pid is still there"])
            ended = subprocess.Popen(["/bin/true"])
            ended.wait()
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{ended.pid}\n")
            self.assertEqual(Scripts.still_there(place, ["*.pid"]), [])
            self.assertEqual(Scripts.still_there(place, ["*.none"]), ["no file *.none"])


if __name__ == "__main__":
    add_tests()
    promises.main()
