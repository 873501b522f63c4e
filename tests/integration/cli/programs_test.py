"""Programs that behave badly, and programs that cannot be run: what the user sees, and that muster
itself is none the worse for it.

usage: programs_test.py BIN [TEST...]
"""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402
from command import Command  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
MUSTER = os.path.join(BIN, "muster")
E_MACHINE = 18  # Of an ELF file: two bytes.
AARCH64 = 183


def run(*arguments, options=(), **more):
    """A run of these words to its end."""
    command = Command([MUSTER, "run", *options, "--", *arguments], **more)
    command.exit = command.end()
    return command


def write(name, text, mode=0o755):
    with open(name, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    os.chmod(name, mode)
    return os.path.abspath(name)


class CannotRun(unittest.TestCase):
    def check(self, program, exit_status, sentence):
        done = run(program)
        self.assertEqual(done.exit, exit_status, done.text)
        self.assertIn(f"muster: job 1 failed: {sentence}", done.text)

    def test_a_script_whose_interpreter_is_not_there(self):
        path = write("script", "#!/no/such/python3\nprint(1)\n")
        self.check(path, 127, f"'{path}' on node n0 cannot be run: the interpreter "
                              "'/no/such/python3' that its first line names is not there")

    def test_a_script_with_the_line_ends_of_windows(self):
        path = write("windows", "#!/bin/sh\r\necho hi\r\n")
        self.check(path, 127, f"'{path}' on node n0 cannot be run: its first line ends with a "
                              "carriage return, as on Windows, so that its interpreter is not "
                              "found; `dos2unix` mends it")

    def test_a_program_for_another_machine(self):
        with open("/bin/true", "rb") as file:
            elf = bytearray(file.read())
        elf[E_MACHINE:E_MACHINE + 2] = AARCH64.to_bytes(2, "little")
        path = write("elf", bytes(elf))
        self.check(path, 126, f"'{path}' on node n0 cannot be run: it was built for aarch64, and "
                              f"this node is {os.uname().machine}")

    def test_a_program_that_is_cut_short(self):
        with open("/bin/true", "rb") as file:
            path = write("short", file.read(100))
        self.check(path, 126, f"program '{path}' on node n0: Exec format error (a program for "
                              "another machine, or a damaged one)")

    def test_a_text_without_an_interpreter_is_a_shell_script(self):
        done = run(write("plain", "echo rank $RANK\n"))
        self.assertEqual((done.exit, done.out), (0, b"rank 0\n"), done.text)

    def test_a_python_script_that_is_not_there(self):
        done = run("python3", "/no/such/train.py")
        self.assertEqual(done.exit, 2)
        self.assertIn("[Errno 2] No such file or directory", done.text)
        self.assertRegex(done.text.split("\n")[-2], r"rank 0 on n0 \(slot 0\) left with exit status 2")


class LargeInput(unittest.TestCase):
    def test_an_environment_of_two_megabytes(self):
        """As large as the kernel lets it be for the stack of 8 MiB that is usual."""
        large = {f"LARGE_{i}": "x" * 100_000 for i in range(20)}
        kept = {name: value for name, value in os.environ.items() if len(value) < 10_000}
        script = "echo ${#LARGE_0} ${#LARGE_19}; env | wc -c"
        done = run("sh", "-c", script.replace("env | wc -c", "echo end"), options=("-N", "2"),
                   env={**kept, **large})
        self.assertEqual(done.exit, 0, done.text[-1000:])
        self.assertEqual(sorted(done.out.decode().split("\n")),
                         ["", "[0] 100000 100000", "[0] end", "[1] 100000 100000", "[1] end"])

    def test_an_environment_that_no_kernel_takes(self):
        variables = "".join(f"  LARGE_{i}: {'x' * 100_000}\n" for i in range(70))
        file = write("large.yaml", f"command: [/bin/true]\nranks_per_node: 1\nenv:\n{variables}", 0o644)
        subprocess.run([MUSTER, "up", "--slots", "1"], check=True, stdout=subprocess.DEVNULL)
        try:
            submitted = subprocess.run([MUSTER, "submit", file], stdout=subprocess.PIPE, check=True)
            waited = Command([MUSTER, "wait", submitted.stdout.decode().strip()])
            self.assertEqual(waited.end(), 126, waited.text)
            self.assertIn("program '/bin/true' on node n0: Argument list too long: its arguments and "
                          "environment may have a quarter of the stack limit together (ulimit -s; at "
                          "most 6 MiB), and 128 KiB each", waited.text)
        finally:
            subprocess.run([MUSTER, "down"], check=True)

    def test_ten_thousand_arguments(self):
        done = run("sh", "-c", "echo $# $1 $10000; shift 9999; echo $1", "sh",
                   *(f"argument-{i}" for i in range(10_000)))
        self.assertEqual(done.exit, 0, done.text[-1000:])
        self.assertEqual(done.out, b"10000 argument-0 argument-00000\nargument-9999\n")


class BytesThatAreNoText(unittest.TestCase):
    NOISE = b"\xff\xfe\x80caf\xe9"

    def test_in_arguments_environment_folder_and_output(self):
        folder = os.path.join(os.getcwdb(), self.NOISE)
        os.mkdir(folder)
        before = os.getcwd()
        os.chdir(folder)
        try:
            done = run("sh", "-c", 'printf "%s|%s|%s\\n" "$1" "$NOISE" "$PWD"; pwd', "sh", self.NOISE,
                       env={**os.environb, b"NOISE": self.NOISE})
        finally:
            os.chdir(before)
        self.assertEqual(done.exit, 0, done.text)
        self.assertEqual(done.out, self.NOISE + b"|" + self.NOISE + b"|" + folder + b"\n" + folder
                         + b"\n")

    def test_in_the_name_of_a_program_that_is_not_there(self):
        done = run(b"/no/" + self.NOISE, options=("--json",))
        self.assertEqual(done.exit, 127)
        self.assertIn("was not found on node n0",
                      json.loads(done.out.decode("utf-8"))["cause"]["text"])

    def test_in_the_last_words_of_a_rank(self):
        done = run("sh", "-c", 'printf "%s\\n" "$1" >&2; exit 3', "sh", self.NOISE,
                   options=("--json",))
        self.assertEqual(done.exit, 3)
        line, end = (json.loads(line) for line in done.out.decode("utf-8").splitlines())
        self.assertEqual(base64.b64decode(line["base64"]), self.NOISE)
        self.assertTrue(end["cause"]["text"].endswith("caf?"), end)


class BadManners(unittest.TestCase):
    def test_a_rank_that_prints_without_a_newline_and_hangs(self):
        hanging = Command([MUSTER, "run", "--grace", "100ms", "--", "sh", "-c",
                           "printf 'no newline'; exec sleep 1000"])
        hanging.await_output("no newline")  # A single rank's bytes come as they are.
        hanging.signal(signal.SIGTERM)
        self.assertEqual((hanging.end(), hanging.out), (143, b"no newline"))

    def test_ranks_that_print_without_a_newline_lose_nothing(self):
        hanging = Command([MUSTER, "run", "-N", "2", "--grace", "100ms", "--", "sh", "-c",
                           "echo ready; printf 'no newline'; exec sleep 1000"])
        hanging.await_output("[0] ready\n", "[1] ready\n")
        hanging.signal(signal.SIGTERM)
        self.assertEqual(hanging.end(), 143)
        for rank in (0, 1):
            self.assertEqual(hanging.out.count(b"[%d] no newline\n" % rank), 1, hanging.out)

    def test_a_rank_that_closes_its_outputs(self):
        done = run("sh", "-c", "echo before; exec >&- 2>&-; echo lost; exit 3")
        self.assertEqual((done.exit, done.out), (3, b"before\n"), done.text)
        self.assertIn("left with exit status 3", done.text)

    def test_a_rank_that_hears_no_sigterm_is_killed_after_its_grace(self):
        deaf = Command([MUSTER, "run", "--grace", "100ms", "--", "sh", "-c",
                        "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
        deaf.await_output("ready\n")
        deaf.signal(signal.SIGTERM)
        self.assertEqual(deaf.end(), 143, deaf.text)

    def test_a_rank_that_eats_what_its_limit_allows(self):
        """Bounded by its own limit; by a cgroup: see cause_test.py."""
        eat = "kept = [b'x' * (1 << 26) for _ in range(1000)]"
        done = Command(["sh", "-c", 'ulimit -v 1000000; exec "$@"', "limit", MUSTER, "run", "--",
                        "sh", "-c", 'ulimit -v 300000; exec "$@"', "limit", sys.executable, "-c", eat])
        self.assertEqual(done.end(), 1, done.text)
        self.assertIn("    MemoryError\n", done.text)
        self.assertIn("left with exit status 1", done.text.split("\n")[-2])


class FullDisk(unittest.TestCase):
    """A small tmpfs in a mount namespace of the test's own, as /tmp."""

    SCRIPT = """
        mount -t tmpfs -o size=8m,mode=1777 full /tmp || exit 99
        exec "$@"
    """

    def in_small_tmp(self, *words):
        environment = {**os.environ, "TMPDIR": "/tmp"}
        del environment["XDG_RUNTIME_DIR"]  # Its sockets lie in /tmp, too.
        return Command(["unshare", "--mount", "--propagation", "private", "sh", "-c", self.SCRIPT,
                        "small", MUSTER, "run", *words], env=environment, cwd="/")

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("skipped: needs root (a mount namespace)")
        if not os.environ.get("MUSTER_STATE_DIR", "/tmp").startswith("/tmp/"):
            return
        # The state must not lie on the disk that is full.
        folder = tempfile.mkdtemp(dir="/var/tmp", prefix="muster-test-")
        self.addCleanup(subprocess.run, ["rm", "-r", folder], check=True)
        before = os.environ["MUSTER_STATE_DIR"]
        os.environ["MUSTER_STATE_DIR"] = folder
        self.addCleanup(os.environ.__setitem__, "MUSTER_STATE_DIR", before)

    FILL = "dd if=/dev/zero of=/tmp/fill.$RANK bs=64k 2>/dev/null; echo full; "

    def test_a_rank_that_fills_tmp_and_fails_is_named(self):
        done = self.in_small_tmp("-N", "2", "--", "sh", "-c",
                                 self.FILL + "[ $RANK = 1 ] || exec sleep 1000; "
                                 "dd if=/dev/zero of=/tmp/more bs=64k count=1 || exit 5")
        self.assertEqual(done.end(), 5, done.text)
        self.assertIn("rank 1 on n1 (slot 0) left with exit status 5", done.text)
        self.assertIn("No space left on device", done.text)

    def test_a_rank_that_fills_tmp_and_goes_on_is_let(self):
        done = self.in_small_tmp("--max-restarts", "1", "--", "sh", "-c",
                                 self.FILL + "[ $MUSTER_ATTEMPT = 1 ] || exit 6; echo second")
        self.assertEqual(done.end(), 0, done.text)
        self.assertEqual(done.out, b"full\nfull\nsecond\n")


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    promises.main()
