"""What reaches the ranks before they end, how long they have, and that nothing outlives them.

usage: signals_test.py BIN [TEST...]
"""

import os
import signal
import shutil
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
TRAPS = ("for s in HUP INT USR1 USR2 TERM; do trap \"echo got $s\" $s; done; "
         "echo ready; while :; do sleep 0.05; done")

# Ranks that start what tries to get away: a session of its own, a double fork, and both deaf.
RUNAWAYS = """
import os, signal, sys, time
def beget(steps):
    pid = os.fork()
    if pid:
        return
    for step in steps:
        if step == 'setsid': os.setsid()
        elif step == 'fork' and os.fork(): os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with open('pids', 'a') as file: file.write(f'{os.getpid()}\\n')
    while True: time.sleep(60)
for steps in (['setsid'], ['fork'], ['setsid', 'fork'], []):
    beget(steps)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
while True: time.sleep(60)
"""

# Says when it was asked, and goes on saying what time it is until it is killed.
DEAF = """
import os, signal, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(time.monotonic()))
print('ready', flush=True)
while not asked: time.sleep(0.001)
with open('times', 'wb', buffering=0) as file:
    file.write(b'%.4f\\n' % asked[0])
    while True:
        file.write(b'%.4f\\n' % time.monotonic())
        time.sleep(0.002)
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


class Signals(unittest.TestCase):
    def tearDown(self):
        for name in ("pids", "times"):
            if os.path.exists(name):
                os.remove(name)

    def run_script(self, script, *options):
        return Command([MUSTER, "run", *options, "--", "/bin/sh", "-c", script])

    def run_python(self, script, *options):
        return Command([MUSTER, "run", *options, "--", sys.executable, "-c", script])

    def test_usr1_and_usr2_are_passed_on_to_every_rank(self):
        run = self.run_script(TRAPS, "-N", "2", "--ranks-per-node", "2", "--grace", "100ms")
        ranks = [f"[{rank}]" for rank in range(4)]
        run.await_output(*(f"{rank} ready\n" for rank in ranks))
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            run.signal(number)
            name = number.name[3:]
            run.await_output(*(f"{rank} got {name}\n" for rank in ranks))
        run.signal(signal.SIGTERM)
        self.assertEqual(run.end(), 143, run.text)

    def test_term_int_and_hup_ask_every_rank_to_end(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            run = self.run_script(TRAPS, "-N", "2", "--grace", "200ms")
            run.await_output("[0] ready\n", "[1] ready\n")
            run.signal(number)
            self.assertEqual(run.end(), 128 + number, run.text)
            for rank in (0, 1):
                self.assertEqual(run.out.count(b"[%d] got TERM\n" % rank), 1, run.out)

    def test_grace_is_what_was_asked_for(self):
        for grace in (0.3, 1.5):
            run = self.run_python(DEAF, "--grace", f"{round(grace * 1000)}ms")
            run.await_output("ready\n")
            run.signal(signal.SIGTERM)
            self.assertEqual(run.end(), 143, run.text)
            with open("times", encoding="ascii") as file:
                times = [float(line) for line in file.read().split("\n")[:-1]]
            had = times[-1] - times[0]
            print(f"grace of {grace} s: the rank had {had:.3f} s")
            self.assertGreater(had, grace - 0.2)

    def check_runaways(self, before=(), muster=MUSTER, python=sys.executable, **options):
        run = Command([*before, muster, "run", "-N", "2", "--grace", "100ms", "--", python, "-c",
                       RUNAWAYS], **options)
        run.await_output("[0] ready\n", "[1] ready\n")
        await_that("all that the ranks started", lambda: os.path.exists("pids") and
                   len(open("pids", encoding="ascii").read().split()) == 8)
        with open("pids", encoding="ascii") as file:
            pids = [int(pid) for pid in file.read().split()]
        self.assertTrue(all(alive(pid) for pid in pids))
        run.signal(signal.SIGTERM)
        self.assertEqual(run.end(), 143, run.text)
        self.assertEqual([pid for pid in pids if alive(pid)], [])

    def test_what_got_away_ends_with_the_ranks(self):
        self.check_runaways()

    def test_what_got_away_ends_without_a_cgroup(self):
        if os.geteuid() != 0:
            self.skipTest("skipped: needs root (a mount namespace without cgroups)")
        hide = ("awk '{for (i = 7; i < NF; i++) if ($i == \"-\" && $(i + 1) ~ /^cgroup/) print $5}' "
                "/proc/self/mountinfo | sort -r | xargs -r -n1 umount -l; exec \"$@\"")
        self.check_runaways(["unshare", "--mount", "--propagation", "private", "sh", "-c", hide,
                             "hide"])


    def test_what_got_away_ends_without_any_rights(self):
        if os.geteuid() != 0:
            self.skipTest("skipped: it was so all the time")
        with tempfile.TemporaryDirectory(dir="/tmp", prefix="muster-test-nobody-") as folder:
            os.chmod(folder, 0o755)
            muster = shutil.copy(MUSTER, folder)
            work = os.path.join(folder, "work")
            os.mkdir(work)
            shutil.chown(work, 65534, 65534)
            places = {name: work for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR",
                                              "MUSTER_STATE_DIR")}
            before = os.getcwd()
            os.chdir(work)
            try:
                self.check_runaways(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
                                    muster, "/usr/bin/python3", env={**os.environ, **places})
            finally:
                os.chdir(before)


class SignalVerb(unittest.TestCase):
    def setUp(self):
        self.call("up", "--nodes", "2", "--slots", "2")

    def tearDown(self):
        self.call("down")

    def call(self, *arguments, fails=None):
        done = subprocess.run([MUSTER, *arguments], stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, fails or 0, done.stderr)
        return (done.stderr if fails else done.stdout).decode()

    def submit(self, script, grace):
        with open("job.yaml", "w", encoding="ascii") as file:
            file.write(f"nodes: 2\nranks_per_node: 2\ngrace: {grace}\n"
                       f"command: [/bin/sh, -c, '{script}']\n")
        job = self.call("submit", "job.yaml").strip()
        logs = Command([MUSTER, "logs", "-f", job])
        logs.await_output(*(f"[{rank}] ready\n" for rank in range(4)))
        return job, logs

    def test_reaches_one_rank_or_all(self):
        job, logs = self.submit(TRAPS, "100ms")
        self.call("signal", job, "USR1", "--rank", "2")
        logs.await_output("[2] got USR1\n")
        self.call("signal", job, "USR2")
        logs.await_output(*(f"[{rank}] got USR2\n" for rank in range(4)))
        self.assertEqual(logs.out.count(b"got USR1\n"), 1, logs.out)
        self.assertEqual(self.call("signal", job, "USR1", "--rank", "4", fails=2),
                         f"muster: job {job} has no rank 4; its ranks are 0 to 3\n")
        self.call("cancel", job)
        self.call("wait", job, fails=143)
        self.assertEqual(self.call("signal", job, "USR1", fails=2),
                         f"muster: job {job} has no running ranks to signal\n")

    def test_cancel_takes_a_grace_of_its_own(self):
        job, _ = self.submit("trap : TERM; echo ready; while :; do sleep 0.05; done", "10m")
        self.call("cancel", job)
        self.call("cancel", job, "--grace", "100ms")  # Who is in a hurry after all.
        self.assertIn(f"job {job} cancelled", self.call("wait", job, fails=143))


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    promises.main()
