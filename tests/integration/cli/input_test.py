"""What rank 0 reads: the caller's stdin, byte for byte, or the caller's terminal.

usage: input_test.py BIN [TEST...]
"""

import fcntl
import hashlib
import os
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402
from command import PATIENCE, Command, await_that  # noqa: E402
from processes import command_of, environment_of, pids  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
MUSTER = os.path.join(BIN, "muster")
# Says how much it read, and what.
SUM = ("import hashlib, sys; data = sys.stdin.buffer.read(); "
       "print(len(data), hashlib.sha256(data).hexdigest())")


def run(*words, options=(), **more):
    """A run of these words."""
    return Command([MUSTER, "run", *options, "--", *words], **more)


def sum_of(data):
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}\n".encode()


def feed(command, data):
    """Writes it from a thread of its own; what nobody reads is no matter."""
    def write():
        try:
            with command.process.stdin as stdin:
                stdin.write(data)
        except BrokenPipeError:
            pass
    thread = threading.Thread(target=write)
    thread.start()
    return thread


class Stdin(unittest.TestCase):
    NOISE = random.Random(7).randbytes(20_000_003)

    def test_every_byte_of_a_pipe_reaches_rank_0(self):
        command = run(sys.executable, "-c", SUM, stdin=subprocess.PIPE)
        writer = feed(command, self.NOISE)
        self.assertEqual((command.end(), command.text), (0, ""))
        self.assertEqual(command.out, sum_of(self.NOISE))
        writer.join()

    def test_a_file_and_a_socket_are_read_as_well(self):
        with open("noise", "wb") as file:
            file.write(self.NOISE[:200_000])
        with open("noise", "rb") as file:
            command = run(sys.executable, "-c", SUM, stdin=file)
            self.assertEqual(command.end(), 0, command.text)
        self.assertEqual(command.out, sum_of(self.NOISE[:200_000]))
        ours, theirs = socket.socketpair()
        command = run(sys.executable, "-c", SUM, stdin=theirs)
        theirs.close()
        ours.sendall(b"a\nb")
        ours.close()
        self.assertEqual(command.end(), 0, command.text)
        self.assertEqual(command.out, sum_of(b"a\nb"))

    def test_each_line_comes_when_it_is_written(self):
        command = run("sh", "-c", "while read line; do echo got $line; done; echo end",
                      stdin=subprocess.PIPE, bufsize=0)
        for word in (b"one", b"two"):
            command.process.stdin.write(word + b"\n")
            command.await_output(b"got " + word + b"\n")
        command.process.stdin.close()
        self.assertEqual((command.end(), command.out), (0, b"got one\ngot two\nend\n"))

    def test_an_empty_pipe_ends_at_once(self):
        command = run("sh", "-c", "wc -c", stdin=subprocess.PIPE)
        command.process.stdin.close()
        self.assertEqual((command.end(), command.out), (0, b"0\n"), command.text)

    def test_the_other_ranks_read_nothing(self):
        command = run("sh", "-c", "wc -c", options=("-N", "2", "--ranks-per-node", "2"),
                      stdin=subprocess.PIPE)
        feed(command, b"12345").join()
        self.assertEqual(command.end(), 0, command.text)
        self.assertEqual(sorted(command.out.split(b"\n")),
                         [b"", b"[0] 5", b"[1] 0", b"[2] 0", b"[3] 0"])

    def test_a_second_attempt_reads_nothing(self):
        command = run("sh", "-c", "wc -c; [ $MUSTER_ATTEMPT = 1 ] || exit 3",
                      options=("--max-restarts", "1"), stdin=subprocess.PIPE)
        feed(command, b"12345").join()
        self.assertEqual((command.end(), command.out), (0, b"5\n0\n"), command.text)
        self.assertNotIn("no more input", command.text)

    def test_a_loop_keeps_its_list_with_stdin_none(self):
        loop = Command(["sh", "-c", f"while read name; do {MUSTER} run --stdin none -- sh -c "
                        "\"wc -c; echo $name\"; done"], stdin=subprocess.PIPE)
        feed(loop, b"first\nsecond\n").join()
        self.assertEqual((loop.end(), loop.out), (0, b"0\nfirst\n0\nsecond\n"), loop.text)

    def test_a_rank_that_reads_nothing_keeps_nobody(self):
        command = run("sh", "-c", "exit 4", stdin=subprocess.PIPE)
        writer = feed(command, self.NOISE)
        self.assertEqual(command.end(), 4, command.text)
        self.assertNotIn("no more input", command.text)
        writer.join()

    def test_a_rank_that_closes_its_stdin_goes_on(self):
        command = run("sh", "-c", "exec <&-; echo closed; while [ ! -e go ]; do sleep 0.05; done",
                      stdin=subprocess.PIPE)
        command.await_output("closed\n")
        writer = feed(command, self.NOISE[:200_000])
        with open("go", "wb"):
            self.addCleanup(os.remove, "go")
        self.assertEqual((command.end(), command.text), (0, ""))
        writer.join()

    def test_dev_null_is_not_carried(self):
        command = run("sh", "-c", "readlink /proc/self/fd/0")
        self.assertEqual((command.end(), command.out), (0, b"/dev/null\n"), command.text)


class BrokenWay(unittest.TestCase):
    """On a cluster that stays; its parts are killed while rank 0 waits for more."""

    def setUp(self):
        subprocess.run([MUSTER, "up", "--nodes", "2", "--slots", "1"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [MUSTER, "down"], check=True)

    def check(self, part, *words):
        command = run("sh", "-c", "read line; echo $line $$; wc -c; echo the end; "
                      "while [ ! -e go ]; do sleep 0.05; done; exit 5", stdin=subprocess.PIPE,
                      bufsize=0)
        command.process.stdin.write(b"first\n")
        command.await_output("first ", "\n")
        os.kill(self.part(int(command.out.split()[1]), part, *words), signal.SIGKILL)
        command.await_output("\n0\nthe end\n")  # Of its input; the job goes on.
        await_that("the sentence", lambda: "rank 0 gets no more input: " in command.text)
        with open("go", "wb"):
            self.addCleanup(os.remove, "go")
        self.assertEqual(command.end(), 5, command.text)
        self.assertEqual(command.text.count("no more input"), 1, command.text)
        command.process.stdin.close()

    @staticmethod
    def part(rank, verb, *words):
        """That of the cluster where this process is a rank."""
        cluster = environment_of(rank)["MUSTER_CLUSTER_COOKIE"]
        return next(pid for pid in pids() if command_of(pid)[1:2] == [verb]
                    and set(words) <= set(command_of(pid))
                    and environment_of(pid).get("MUSTER_CLUSTER_COOKIE") == cluster)

    def test_the_agent_is_killed(self):
        self.check("agent", "n0")

    def test_the_coordinator_is_killed(self):
        self.check("coordinator")

    def test_a_terminal_is_given_back_and_its_rank_reads_the_end(self):
        terminal = Terminal("--pty", "--", "sh", "-c", "echo pid $$ ready; cat; echo over; exit 5")
        terminal.read_until(b"ready")
        await_that("the keys go to rank 0", lambda: not terminal.modes()[3] & termios.ISIG)
        rank = int(re.search(rb"pid (\d+) ready", terminal.output)[1])
        os.kill(self.part(rank, "agent", "n0"), signal.SIGKILL)
        terminal.read_until(b"over\r")
        terminal.read_until(b"rank 0 gets no more input: ")
        self.assertTrue(terminal.modes()[3] & termios.ISIG)
        self.assertEqual(terminal.end(), (5, True), terminal.output)


class Terminal:
    """`muster run` in the foreground of a terminal of its own, 30 x 100."""

    def __init__(self, *arguments):
        self.master, self.slave = pty.openpty()
        self.resize(30, 100)
        self.before = termios.tcgetattr(self.slave)
        self.output = b""
        self.process = subprocess.Popen(["setsid", "--ctty", MUSTER, "run", *arguments],
                                        stdin=self.slave, stdout=self.slave, stderr=self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def read_until(self, text):
        deadline = time.monotonic() + PATIENCE
        while text not in self.output:
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise AssertionError(f"{text} was not seen in {self.output}")
            self.output += os.read(self.master, 65536)

    def press(self, keys):
        os.write(self.master, keys)

    def end(self):
        """(Its exit status, whether the terminal's modes are as they were)"""
        drain = threading.Thread(target=self._drain, daemon=True)
        drain.start()
        status = self.process.wait(timeout=PATIENCE)
        same = termios.tcgetattr(self.slave) == self.before
        os.close(self.slave)
        drain.join()
        os.close(self.master)
        return status, same

    def _drain(self):
        try:
            while True:
                self.output += os.read(self.master, 65536)
        except OSError:
            pass

    def modes(self):
        return termios.tcgetattr(self.slave)


class Pty(unittest.TestCase):
    def test_is_refused_without_a_terminal(self):
        for stdin in (subprocess.DEVNULL, subprocess.PIPE):
            command = run("true", options=("--pty",), stdin=stdin)
            self.assertEqual((command.end(), command.text),
                             (2, "muster: --pty gives rank 0 your terminal, but stdin is none; run "
                                 "it from a terminal, or leave --pty out\n"))
            if command.process.stdin:
                command.process.stdin.close()

    def test_rank_0_has_a_terminal_of_the_callers_size(self):
        terminal = Terminal("--pty", "--", "sh", "-c",
                            "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && stty size && tty; "
                            "echo end; : > /dev/tty && exit 6")
        terminal.read_until(b"end")
        self.assertIn(b"30 100\r", terminal.output)
        self.assertEqual(terminal.end(), (6, True), terminal.output)

    def test_what_is_typed_arrives_and_what_is_said_comes_at_once(self):
        terminal = Terminal("--pty", "--", sys.executable, "-q")
        terminal.read_until(b">>> ")
        self.assertFalse(terminal.modes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG))
        terminal.press(b"print(6 * 7)\r")
        terminal.read_until(b"42\r")
        terminal.press(b"import os; os.get_terminal_size()\r")
        terminal.read_until(b"columns=100, lines=30")
        terminal.press(b"\x04")
        self.assertEqual(terminal.end(), (0, True), terminal.output)

    def test_ctrl_c_reaches_rank_0_alone(self):
        terminal = Terminal("--pty", "-N", "2", "--", "sh", "-c",
                            "trap 'echo got it; exit 0' INT; echo ready; [ $RANK = 0 ] || exit 0; "
                            "while :; do sleep 0.05; done")
        terminal.read_until(b"ready\r\r\n")  # Of rank 0, which has two terminals to write through.
        await_that("the keys go to rank 0", lambda: not terminal.modes()[3] & termios.ISIG)
        terminal.press(b"\x03")
        terminal.read_until(b"got it\r")
        self.assertEqual(terminal.end(), (0, True), terminal.output)
        self.assertNotIn(b"stopping job", terminal.output)
        self.assertIn(b" n1 1| ready\r\n", terminal.output)  # With its origin, as always.
        self.assertEqual(terminal.output.count(b"| "), 1, terminal.output)

    def test_a_new_size_reaches_rank_0(self):
        terminal = Terminal("--pty", "--", "sh", "-c",
                            "trap 'stty size; exit 0' WINCH; echo ready; "
                            "while :; do sleep 0.05; done")
        terminal.read_until(b"ready")
        await_that("the keys go to rank 0", lambda: not terminal.modes()[3] & termios.ISIG)
        terminal.resize(50, 132)
        terminal.read_until(b"50 132\r")
        self.assertEqual(terminal.end(), (0, True), terminal.output)

    def test_the_terminal_is_as_before_when_the_run_is_ended(self):
        terminal = Terminal("--pty", "--grace", "200ms", "--", "sh", "-c",
                            "echo ready; while :; do sleep 0.05; done")
        terminal.read_until(b"ready")
        await_that("the keys go to rank 0", lambda: not terminal.modes()[3] & termios.ISIG)
        terminal.process.terminate()
        self.assertEqual(terminal.end(), (143, True), terminal.output)

    def test_the_terminal_is_given_back_when_rank_0_has_ended(self):
        terminal = Terminal("--pty", "-N", "2", "--grace", "200ms", "--", "sh", "-c",
                            "if [ $RANK = 0 ]; then echo ready; read line; exit 0; fi; "
                            "while :; do sleep 0.05; done")
        terminal.read_until(b"ready")
        await_that("the keys go to rank 0", lambda: not terminal.modes()[3] & termios.ISIG)
        terminal.press(b"bye\r")
        await_that("the keys are ours again", lambda: terminal.modes() == terminal.before)
        terminal.press(b"\x03")
        terminal.read_until(b"stopping job 1")
        self.assertEqual(terminal.end(), (130, True), terminal.output)

    def test_stdin_0_reads_a_terminal_line_by_line(self):
        terminal = Terminal("--stdin", "0", "--", "sh", "-c",
                            "[ -t 0 ] || echo none; read line; echo got $line; wc -c")
        terminal.read_until(b"none\r\n")
        terminal.press(b"a line\n")
        terminal.read_until(b"got a line\r\n")
        terminal.press(b"\x04")
        terminal.read_until(b"0\r\n")
        self.assertEqual(terminal.end(), (0, True), terminal.output)

    def test_a_terminal_is_left_alone_unless_asked(self):
        terminal = Terminal("--", "sh", "-c", "readlink /proc/self/fd/0")
        terminal.read_until(b"/dev/null\r\n")
        self.assertEqual(terminal.end(), (0, True), terminal.output)

    def test_what_is_said_last_is_shown_when_it_fails(self):
        terminal = Terminal("--pty", "--", sys.executable, "-c", "raise KeyError('lost')")
        status, same = terminal.end()
        self.assertEqual((status, same), (1, True))
        self.assertIn(b"rank 0 on n0 (slot 0) left with exit status 1", terminal.output)
        self.assertIn(b"KeyError: 'lost'\r", terminal.output)


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    promises.main()
