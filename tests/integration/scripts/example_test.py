"""examples/pytorch_ddp stops when it is asked to, at one step on all ranks, and goes on from there;
examples/logistic_regression finds the same weights on any number of ranks.

usage: example_test.py BIN [TEST...]
"""

import os
import re
import shutil
import signal
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
from expected import ROOT  # noqa: E402

BIN = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
PATIENCE = 120  # Seconds, for what takes ten at most.


class LogisticRegression(unittest.TestCase):
    PROGRAM = os.path.join(BIN, "logistic_regression")

    def lines(self, *command, expect=0):
        done = subprocess.run(command, env=surroundings.environment(BIN), text=True, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return [re.sub(r"^\[\d+\] ", "", line) for line in (done.stdout + done.stderr).splitlines()]

    def test_any_number_of_ranks_prints_the_same(self):
        alone = self.lines(self.PROGRAM)
        self.assertRegex(alone[0], r"^3931 of 4096 samples right, the loss is 0\.1692001709026\d*$")
        for nodes, ranks in ((1, 2), (2, 2)):
            self.assertEqual(self.lines(
                os.path.join(BIN, "muster"), "run", "-N", str(nodes), "--ranks-per-node", str(ranks),
                "--", self.PROGRAM), alone)

    def test_a_number_of_ranks_that_does_not_fit_is_refused(self):
        said = self.lines(os.path.join(BIN, "muster"), "run", "--ranks-per-node", "3", "--",
                          self.PROGRAM, expect=2)
        self.assertIn("3 ranks do not divide 64 parts", said)


class PytorchDdp(unittest.TestCase):
    def setUp(self):
        self.environment = surroundings.environment(BIN)
        for need in ("torch", "muster"):
            missing = surroundings.prepare(need, self.environment)
            if missing:
                self.skipTest(f"skipped: needs {missing}")
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        shutil.copy(os.path.join(ROOT, "examples", "pytorch_ddp", "train.py"), self.folder)

    def start(self, steps):
        return subprocess.Popen(
            [os.path.join(BIN, "muster"), "torchrun", "--nnodes", "2", "--nproc-per-node", "1",
             "train.py", "--steps", str(steps)], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def trained(self, run, exit_status):
        """The first and last step that it says it trained."""
        out, said = run.communicate(timeout=PATIENCE)
        self.assertEqual(run.returncode, exit_status, said + out)
        found = re.findall(r"2 ranks trained steps (\d+) to (\d+),", out)
        self.assertEqual(len(found), 1, said + out)
        return tuple(int(step) for step in found[0])

    def test_an_interrupted_run_is_gone_on_with(self):
        run = self.start(10**9)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(os.path.join(self.folder, "snapshot.pt")):
            self.assertLess(time.monotonic(), deadline, "no snapshot")
            self.assertIsNone(run.poll(), "it ended by itself")
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        first, last = self.trained(run, 130)
        self.assertEqual(first, 1)
        self.assertGreaterEqual(last, 20)
        self.assertEqual(self.trained(self.start(last + 10), 0), (last + 1, last + 10))


if __name__ == "__main__":
    promises.main()
