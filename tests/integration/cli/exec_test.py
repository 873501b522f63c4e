"""`muster exec`: a program beside a rank, with its output, its end, and its death with whoever asked.

usage: exec_test.py BIN [TEST...]
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402
from command import Command, await_that  # noqa: E402
from processes import command_of, environment_of, pids, stat_of  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
MUSTER = os.path.join(BIN, "muster")
RANKS = 4


def alive(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


class Exec(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        subprocess.run([MUSTER, "up", "--nodes", "2", "--slots", "2"], check=True,
                       stdout=subprocess.DEVNULL)
        cls.addClassCleanup(subprocess.run, [MUSTER, "down"], check=True)

    def setUp(self):
        self.job = self.submit("echo ready $$; while [ ! -e go ]; do sleep 0.2; done")
        self.addCleanup(subprocess.run, [MUSTER, "cancel", "--now", self.job], check=True)
        logs = Command([MUSTER, "logs", "-f", self.job])
        logs.await_output(*(f"[{rank}] ready" for rank in range(RANKS)))
        self.pids = {int(rank): int(pid) for rank, pid in
                     re.findall(r"\[(\d)\] ready (\d+)\n", logs.out.decode())}
        logs.process.kill()
        logs.end()

    @staticmethod
    def submit(script):
        done = subprocess.run([MUSTER, "run", "--detach", "-N", "2", "--ranks-per-node", "2", "--",
                               "/bin/sh", "-c", script], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    def start(self, *words, rank=None, options=()):
        which = () if rank is None else ("--rank", str(rank))
        return Command([MUSTER, "exec", *options, self.job, *which, "--", *words])

    def run_beside(self, *words, **where):
        command = self.start(*words, **where)
        command.exit = command.end()
        return command

    # ---- what it is given -------------------------------------------------------------------------

    def test_runs_in_the_environment_and_folder_of_its_rank(self):
        for rank in range(RANKS):
            done = self.run_beside("sh", "-c", "echo $RANK $LOCAL_RANK $WORLD_SIZE $MUSTER_RANK_PID "
                                   "$PWD ${MUSTER_LINK_FD-none} ${PMIX_RANK-none}; pwd", rank=rank)
            self.assertEqual(done.exit, 0, done.text)
            here = os.getcwd()
            self.assertEqual(done.out.decode(), f"{rank} {rank % 2} 4 {self.pids[rank]} {here} none "
                                                f"none\n{here}\n")

    def test_runs_beside_rank_0_unless_told_otherwise(self):
        self.assertEqual(self.run_beside("sh", "-c", "echo $RANK").out, b"0\n")

    def test_is_told_the_ranks_process(self):
        done = self.run_beside("cat", "/proc/{pid}/cmdline", rank=3)
        self.assertIn(b"echo ready", done.out)

    def test_runs_in_the_group_of_its_rank(self):
        done = self.run_beside("sh", "-c", "cat /proc/self/cgroup; echo --; cat /proc/{pid}/cgroup",
                               rank=2)
        own, ranks = done.out.split(b"--\n")
        self.assertEqual(own, ranks)

    # ---- what comes back --------------------------------------------------------------------------

    def test_leaves_with_its_exit_status(self):
        self.assertEqual(self.run_beside("sh", "-c", "exit 42").exit, 42)
        self.assertEqual(self.run_beside("sh", "-c", "kill -9 $$").exit, 137)

    def test_keeps_its_outputs_apart_and_whole(self):
        done = self.run_beside("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' a; echo to >&2; "
                               "printf '\\377\\376'", rank=1)
        self.assertEqual(done.exit, 0, done.text)
        self.assertEqual(done.err, b"to\n")
        self.assertEqual(done.out, b"a" * 3_000_000 + b"\xff\xfe")

    def test_a_child_that_stays_keeps_nobody_waiting(self):
        done = self.run_beside("sh", "-c", "echo before; sleep 1000 & echo $!")
        self.assertEqual(done.exit, 0)
        self.assertEqual(done.out.split(b"\n")[0], b"before")

    def test_tells_why_a_program_cannot_be_run(self):
        done = self.run_beside("no-such-program")
        self.assertEqual((done.exit, done.text),
                         (127, "muster: 'no-such-program' cannot be run beside the rank: No such file "
                               "or directory\n"))

    # ---- when it cannot be ------------------------------------------------------------------------

    def test_refuses_a_rank_that_is_not_there(self):
        done = self.run_beside("true", rank=4)
        self.assertEqual((done.exit, done.text),
                         (2, f"muster: job {self.job} has no rank 4; its ranks are 0 to 3\n"))

    def test_refuses_a_job_that_has_ended(self):
        subprocess.run([MUSTER, "cancel", "--now", self.job], check=True)
        subprocess.run([MUSTER, "wait", self.job], check=False, stderr=subprocess.DEVNULL)
        done = self.run_beside("true")
        self.assertEqual((done.exit, done.text),
                         (2, f"muster: job {self.job} has no running ranks\n"))

    def test_needs_a_program(self):
        done = Command([MUSTER, "exec", self.job])
        self.assertEqual(done.end(), 2)
        self.assertIn("no program; put it after --", done.text)

    # ---- how it ends ------------------------------------------------------------------------------

    def sleeper(self, rank):
        """(command, pid of its program beside the rank)"""
        started = self.start("sh", "-c", "echo pid $$; while :; do sleep 0.2; done", rank=rank)
        started.await_output("\n")
        return started, int(started.out.split()[1])

    def test_ends_with_the_job(self):
        started, pid = self.sleeper(3)
        subprocess.run([MUSTER, "cancel", "--now", self.job], check=True)
        self.assertNotEqual(started.end(), 0)
        await_that("its program is gone", lambda: not alive(pid))

    def test_does_not_keep_the_job(self):
        started, pid = self.sleeper(0)
        with open("go", "wb"):
            self.addCleanup(os.remove, "go")
        self.assertEqual(subprocess.run([MUSTER, "wait", self.job], check=False).returncode, 0)
        self.assertNotEqual(started.end(), 0)
        await_that("its program is gone", lambda: not alive(pid))

    def test_ends_with_whoever_asked(self):
        for number in (signal.SIGKILL, signal.SIGINT):
            started, pid = self.sleeper(1)
            started.signal(number)
            started.end()
            await_that("its program is gone", lambda pid=pid: not alive(pid))

    def test_ends_when_its_node_loses_its_agent(self):
        started, pid = self.sleeper(2)
        cluster = environment_of(pid)["MUSTER_CLUSTER_COOKIE"]
        agent = next(some for some in pids()
                     if command_of(some)[1:2] == ["agent"] and "n1" in command_of(some)
                     and environment_of(some).get("MUSTER_CLUSTER_COOKIE") == cluster)
        os.kill(agent, signal.SIGKILL)
        self.assertEqual(started.end(), 1, started.text)
        self.assertIn("the agent of node n1 went away", started.text)
        await_that("its program is gone", lambda: not alive(pid))
        # The job knows nothing of it.
        await_that("the agent is back", lambda: self.run_beside("true", rank=2).exit == 0)


class PySpy(unittest.TestCase):
    def test_dumps_the_stack_of_a_rank(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        install = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target",
                                  folder, "py-spy"], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, check=False, timeout=120)
        if install.returncode != 0:
            self.skipTest(f"skipped: py-spy does not install: {install.stdout.decode()[-200:]}")
        py_spy = os.path.join(folder, "bin", "py-spy")
        subprocess.run([MUSTER, "up", "--slots", "1"], check=True, stdout=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [MUSTER, "down"], check=True)
        script = "import time\ndef waits_for_a_peer():\n    time.sleep(1000)\nwaits_for_a_peer()"
        job = subprocess.run([MUSTER, "run", "--detach", "--", sys.executable, "-c", script],
                             stdout=subprocess.PIPE, check=True).stdout.decode().strip()
        # Until the interpreter has begun, there is no stack.
        said = []

        def dumped():
            done = Command([MUSTER, "exec", job, "--", py_spy, "dump", "--pid", "{pid}"])
            said[:] = [done.end(), done.out, done.err]
            return b"waits_for_a_peer (<string>" in done.out
        try:
            await_that("a stack with the function", dumped)
        except AssertionError:
            self.fail(said)


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    promises.main()
