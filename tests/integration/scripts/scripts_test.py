"""Real programs, as people have them, under muster on two nodes.

usage: scripts_test.py BIN GROUP [Scripts.test_NAME...]

Each folder beside this file is one program and a file `expect`:

    group: torch                    in which run of this test it is
    needs: torch                    skipped, with what is missing, where that is not there
    build: mpicc -O1 -o pi pi.c     before; may be repeated
    run: torchrun ... ddp.py        `muster` of this; it starts in a copy of the folder
    exit: 0
    out 4: loss [0-9.]+             so many lines of stdout are this, as a whole, without the rank
    err 1: rank 1 .* status 3       so many lines of stderr hold this
    gone: *.pid                     afterwards no process has the number that such a file holds

Every line of stdout must be one that is expected, and every line expected must come as often as said.
"""

import glob
import os
import re
import shlex
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

BIN = sys.argv.pop(1) if len(sys.argv) > 2 else ""
GROUP = sys.argv.pop(1) if len(sys.argv) > 1 else ""
NODES, SLOTS = 2, 2
TIMEOUT = 120  # Seconds, for what takes ten at most.
SWEPT = 30  # Seconds, for what takes a fraction of one.


class Expect:
    """What the file of that name says."""

    def __init__(self, folder):
        self.folder, self.group, self.needs, self.builds = folder, "", [], []
        self.run, self.exit, self.out, self.err, self.gone = [], 0, [], [], []
        with open(os.path.join(folder, "expect"), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith("#"):
                    self._take(line.rstrip("\n"), f"{folder}/expect:{number}")

    def _take(self, line, where):
        key, colon, value = line.partition(": ")
        key, *count = key.split()
        if not colon or key not in ("group", "needs", "build", "run", "exit", "out", "err", "gone"):
            raise ValueError(f"{where}: '{line}'")
        if key == "group":
            self.group = value
        elif key == "exit":
            self.exit = int(value)
        elif key in ("out", "err"):
            getattr(self, key).append((int(count[0]), re.compile(value)))
        elif key == "build":
            self.builds.append(shlex.split(value))
        else:
            getattr(self, key).extend(shlex.split(value))


def misfits(lines, expected):
    """What is wrong with lines that ought to be these, each line one of them."""
    wrong = [f"not expected: {line!r}" for line in lines
             if not any(pattern.fullmatch(line) for _, pattern in expected)]
    for count, pattern in expected:
        seen = sum(1 for line in lines if pattern.fullmatch(line))
        if seen != count:
            wrong.append(f"{seen} lines instead of {count} are: {pattern.pattern}")
    return wrong


def without_rank(line):
    return re.sub(r"^\[\d+\] ", "", line)


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
        place = shutil.copytree(expect.folder,
                                os.path.join(self.folder, os.path.basename(expect.folder)))
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
    def still_there(place, patterns):
        """The cluster sweeps when a job has ended, and nobody waits for that but we."""
        wrong = []
        deadline = time.monotonic() + SWEPT
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
            name = "test_" + os.path.basename(expect.folder)
            setattr(Scripts, name, lambda self, expect=expect: self.judge(expect))


class Judgement(unittest.TestCase):
    """The judge itself."""

    EXPECTED = [(2, re.compile("a")), (1, re.compile("b+"))]

    def test_every_line_is_expected_and_as_often_as_said(self):
        self.assertEqual(misfits(["a", "bb", "a"], self.EXPECTED), [])
        self.assertEqual(misfits(["a", "b", "a", "c"], self.EXPECTED), ["not expected: 'c'"])
        self.assertEqual(misfits(["a", "b"], self.EXPECTED), ["1 lines instead of 2 are: a"])
        self.assertEqual(misfits(["a", "a", "b", "b"], self.EXPECTED),
                         ["2 lines instead of 1 are: b+"])


if __name__ == "__main__":
    add_tests()
    promises.main()
