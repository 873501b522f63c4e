"""`muster run` on a terminal: Ctrl-C once and twice, and a terminal that is closed.

usage: terminal_test.py BIN [TEST...]
"""

import os
import pty
import select
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
PATIENCE = 60
# The terminal's signals are for `muster run` alone: a rank that got one would say so.
TRAPS = "trap 'echo a signal of the terminal came through' INT HUP QUIT; "


class Terminal:
    """A program in the foreground of a terminal of its own."""

    def __init__(self, command):
        self.master, slave = pty.openpty()
        self.output = b""
        # A session of its own, whose terminal is the one it opens first.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def read_until(self, text):
        """Without a text: until the terminal's other side is closed."""
        deadline = time.monotonic() + PATIENCE
        while text is None or text not in self.output:
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise AssertionError(f"{text} was not seen in {self.output}")
            try:
                self.output += os.read(self.master, 65536)
            except OSError:  # EIO: nobody has it open any more.
                if text is not None:
                    raise AssertionError(f"{text} was not seen in {self.output}") from None
                return

    def press(self, keys):
        os.write(self.master, keys)

    def close(self):
        os.close(self.master)

    def end(self):
        return self.process.wait(timeout=PATIENCE)


class RunOnATerminal(unittest.TestCase):
    def start(self, script, *options):
        return Terminal([os.path.join(BIN, "muster"), "run", *options, "--", "/bin/sh", "-c",
                         TRAPS + script])

    def test_ctrl_c_once_gives_grace(self):
        run = self.start("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
        run.read_until(b"ready\r\n")
        run.press(b"\x03")
        run.read_until(None)
        self.assertEqual(run.end(), 130, run.output)
        self.assertIn(b"bye\r\n", run.output)
        self.assertIn(b"(grace 30 s; once more to kill it now)", run.output)
        self.assertNotIn(b"came through", run.output)

    def test_ctrl_c_twice_kills_now(self):
        run = self.start("trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done",
                         "--grace", "10m")
        run.read_until(b"ready\r\n")
        run.press(b"\x03")
        run.read_until(b"no\r\n")
        run.press(b"\x03")
        run.read_until(None)
        self.assertEqual(run.end(), 130, run.output)
        self.assertNotIn(b"came through", run.output)

    def test_a_closed_terminal_ends_the_job(self):
        run = self.start("echo ready; exec sleep 1000", "--grace", "200ms")
        run.read_until(b"ready\r\n")
        run.close()
        self.assertEqual(run.end(), 129)

    def test_a_closed_terminal_ends_a_job_that_writes(self):
        """What is seen first is either the signal or that nobody reads."""
        run = self.start("while :; do echo yes; done", "--grace", "200ms")
        run.read_until(b"yes\r\n")
        run.close()
        self.assertIn(run.end(), (129, 141))


if __name__ == "__main__":
    promises.main()
