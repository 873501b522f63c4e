"""Who failed first: what `muster run` says last, and what `wait` and `show` tell later.

usage: cause_test.py BIN [TEST...]
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

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
MUSTER = os.path.join(BIN, "muster")
WHEN = r" at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z, \d+\.\d s after the start"

# Every rank holds a connection to rank 0, as collectives do.  CULPRIT fails while the others wait;
# its sockets are reset long before it ends, so that all the others end first.
MESH = """
import os, socket, struct, sys, time
rank, world, culprit = int(os.environ['RANK']), int(os.environ['WORLD_SIZE']), int(sys.argv[1])
place = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))
def connect():
    while True:
        try: return socket.create_connection(place)
        except ConnectionRefusedError: time.sleep(0.01)
if rank == 0:
    listener = socket.create_server(place)
    peers = [listener.accept()[0] for _ in range(1, world)]
    for peer in peers: peer.sendall(b'go')
else:
    peers = [connect()]
    assert peers[0].recv(2) == b'go'
def train(step):
    if step: return train(step - 1)
    if rank == culprit: raise ValueError('loss is nan')
    for peer in peers:
        if not peer.recv(1): raise ConnectionResetError('Connection closed by peer')
try:
    train(30)
except ValueError:
    for peer in peers:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        peer.close()
    time.sleep(0.4)  # As an interpreter that tidies up.
    raise
"""


class FirstCause(unittest.TestCase):
    def run_python(self, script, *arguments, ranks=2, options=()):
        self.last = run = Command([MUSTER, "run", "-N", "2", "--ranks-per-node", str(ranks), *options, "--",
                       sys.executable, "-c", script, *arguments])
        exit_status = run.end()
        return exit_status, run.text

    def check_culprit(self, culprit):
        exit_status, text = self.run_python(MESH, str(culprit))
        self.assertEqual(exit_status, 1, text)
        lines = text.rstrip("\n").split("\n")
        node, slot = divmod(culprit, 2)
        self.assertRegex(lines[-1],
                         rf"^muster: job 1 failed: rank {culprit} on n{node} \(slot {slot}\) left with "
                         rf"exit status 1{WHEN}; the other 3 ranks were stopped because of it$")
        # Its traceback is quoted whole, last, and with none of a peer's in between.
        quoted = text[text.rindex("muster: the last lines of stderr of "):]
        self.assertTrue(quoted.startswith(
            f"muster: the last lines of stderr of rank {culprit} on n{node} (slot {slot}):\n"
            "    Traceback (most recent call last):\n"), quoted)
        self.assertIn("    ValueError: loss is nan\n", quoted)
        self.assertNotIn("ConnectionResetError", quoted)

    def test_a_peer_of_the_same_node_that_ends_sooner_is_not_blamed(self):
        self.check_culprit(1)

    def test_a_peer_of_another_node_that_ends_sooner_is_not_blamed(self):
        self.check_culprit(2)

    def test_the_rank_that_all_are_connected_to(self):
        self.check_culprit(0)

    def test_a_long_traceback_is_shown_whole(self):
        deep = "def f(n):\n    if n == 0: raise KeyError('deep')\n    g(n)\ndef g(n): f(n - 1)\nf(40)"
        exit_status, text = self.run_python(f"exec(compile({deep!r}, 'deep.py', 'exec'))", ranks=1)
        self.assertEqual(exit_status, 1)
        quoted = text[text.rindex("muster: the last lines of stderr of "):].split("\n")
        self.assertEqual(quoted[1], "    Traceback (most recent call last):")
        self.assertEqual(quoted[-3], "    KeyError: 'deep'")
        self.assertEqual(sum("deep.py" in line for line in quoted), 82)

    def test_a_lost_connection_with_nobody_to_blame_is_said_to_be_one(self):
        exit_status, text = self.run_python(
            "import os, time\nif os.environ['RANK'] == '0': raise ConnectionResetError('by peer')\n"
            "time.sleep(1000)", ranks=1)
        self.assertEqual(exit_status, 1, text)
        self.assertRegex(text.split("\n")[-2],
                         r"rank 0 on n0 \(slot 0\) left with exit status 1 over a lost connection \(no "
                         rf"rank is known to have failed before\){WHEN}; the other rank was stopped")

    def test_a_signal_is_named_and_no_peer_that_heard_of_it(self):
        script = MESH.replace("raise ValueError('loss is nan')",
                              f"os.kill(os.getpid(), {int(signal.SIGSEGV)})")
        exit_status, text = self.run_python(script, "3")
        self.assertEqual(exit_status, 139, text)
        self.assertRegex(text.split("\n")[-2],
                         rf"rank 3 on n1 \(slot 1\) was killed by SIGSEGV{WHEN}; the other 3 ranks")

    def test_json_tells_it_too(self):
        exit_status, _ = self.run_python(MESH, "2", options=("--json",))
        text = self.last.out.decode()
        end = json.loads(text.rstrip("\n").split("\n")[-1])
        self.assertEqual((exit_status, end["exit"], end["rank"]), (1, 1, 2), text)
        cause = end["cause"]
        self.assertEqual((cause["kind"], cause["node"], cause["slot"], cause["code"]),
                         ("exit", "n1", 0, 1))
        self.assertRegex(cause["at"], r"^\d{4}-\d\d-\d\dT")
        self.assertNotIn("blames_a_peer", cause)
        self.assertIn("ValueError: loss is nan", cause["text"])

    def test_wait_and_show_tell_the_same(self):
        subprocess.run([MUSTER, "up", "--nodes", "2", "--slots", "1"], check=True,
                       stdout=subprocess.DEVNULL)
        try:
            ask = lambda *words: subprocess.run([MUSTER, *words], stdout=subprocess.PIPE,  # noqa
                                                stderr=subprocess.PIPE, text=True, check=False)
            job = ask("run", "--detach", "-N", "2", "--", "sh", "-c",
                      "[ $RANK = 1 ] || exec sleep 1000; echo over >&2; exit 7").stdout.strip()
            waited = ask("wait", job)
            self.assertEqual(waited.returncode, 7)
            self.assertRegex(waited.stderr,
                             r"^muster: the last lines of stderr of rank 1 on n1 \(slot 0\):\n"
                             rf"    over\nmuster: job {job} failed: rank 1 on n1 \(slot 0\) left with "
                             r"exit status 7 at \S+Z; the other rank was stopped because of it\n$")
            shown = ask("show", job).stdout
            self.assertRegex(shown, r"cause +rank 1 on n1 \(slot 0\) left with exit status 7 at ")
            self.assertIn("of rank 1 on n1 (slot 0):\n    over\n", shown)
        finally:
            subprocess.run([MUSTER, "down"], check=True)


class OutOfMemory(unittest.TestCase):
    """A rank eats what a memory cgroup of a few hundred MiB has; the machine is in no danger."""

    LIMIT_MIB = 400

    def setUp(self):
        self.group = self.make_group()
        if self.group is None:
            self.skipTest("skipped: no memory cgroup can be made here")
        self.addCleanup(self.remove)

    @staticmethod
    def make_group():
        """(folder, file that takes the limit) of a new group, in either version of cgroups."""
        name = f"muster-test-{os.getpid()}"
        for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                            ("/sys/fs/cgroup", "memory.max")):
            folder = os.path.join(root, name)
            try:
                os.mkdir(folder)
                with open(os.path.join(folder, limit), "w", encoding="ascii") as file:
                    file.write(f"{OutOfMemory.LIMIT_MIB << 20}")
                return folder
            except OSError:
                if os.path.isdir(folder):
                    os.rmdir(folder)
        return None

    def remove(self):
        def gone():
            try:
                os.rmdir(self.group)
            except OSError:
                return not os.path.exists(self.group)
            return True
        await_that("the memory group is empty", gone)

    def run_inside(self, script):
        enter = f'echo $$ > {self.group}/cgroup.procs; exec "$@"'
        return Command(["sh", "-c", enter, "enter", MUSTER, "run", "-N", "2", "--", sys.executable,
                        "-c", script])

    def test_is_told_from_signal_9(self):
        run = self.run_inside(
            "import os, time\n"
            "if os.environ['RANK'] == '0': time.sleep(1000)\n"
            "kept = []\n"
            f"for _ in range({self.LIMIT_MIB}): kept.append(b'x' * (1 << 20))\n"
            "time.sleep(1000)")
        self.assertEqual(run.end(), 137, run.text)
        verdict = run.text.rstrip("\n").split("\n")[-1]
        print(verdict)
        found = re.search(r"out of memory: rank 1 on n1 \(slot 0\) used ([\d.]+) of 400 MiB and was "
                          r"killed by SIGKILL at \S+Z, ", verdict)
        self.assertTrue(found, run.text)
        self.assertGreater(float(found.group(1)), 200)

    def test_a_kill_by_somebody_else_is_no_lack_of_memory(self):
        run = self.run_inside("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
        self.assertEqual(run.end(), 137)
        self.assertRegex(run.text, r"rank [01] on n[01] \(slot 0\) was killed by SIGKILL at ")
        self.assertNotIn("memory", run.text)


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    promises.main()
