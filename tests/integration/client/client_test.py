"""The client library under muster: keys, progress, the word to stop, and the loss curve afterwards.

usage: client_test.py ROOT_OF_THE_REPOSITORY BUILD_FOLDER [Client.test_NAME...]
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402

ROOT = sys.argv.pop(1) if len(sys.argv) > 1 else ""
BUILD = sys.argv.pop(1) if len(sys.argv) > 1 else ""
PYTHON = "/usr/bin/python3"  # Debian's.
MUSTER = os.path.join(BUILD, "bin", "muster")
TRAIN = [PYTHON, os.path.join(HERE, "train.py")]
RANK = [os.path.join(BUILD, "bin", "client_rank")]
PATIENCE = 120  # Seconds, for what takes a few.
NODES, RANKS = 2, 4
FOR_EVER = str(10**9)
ALONE = """
import muster
assert (muster.rank(), muster.world_size(), muster.local_rank(), muster.num_nodes()) == (0, 1, 0, 1)
assert muster.job_id() == muster.run_id() == "" and muster.attempt() == 0
assert not muster.linked() and not muster.should_stop() and muster.grace_left() is None
muster.progress(1, loss=2.0, tokens=3)
muster.progress(2)
muster.note("nobody hears it")
with muster.phase("data"):
    pass
muster.kv_set("k", "v")
assert muster.kv_get("k") == b"v"
for wrong in (lambda: muster.kv_get("other", timeout=0), lambda: muster.kv_set("", b""),
              lambda: muster.kv_set("muster.x", b""), lambda: muster.kv_set("k", bytes(60000)),
              lambda: muster.phase("lunch")):
    try:
        wrong()
    except (TimeoutError, ValueError):
        continue
    raise AssertionError(wrong)
print(muster.__file__)
"""


class Client(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="muster-client-"))
        cls.environment = {**os.environ, "PYTHONPATH": os.path.join(BUILD, "python"),
                           "PYTHONDONTWRITEBYTECODE": "1"}
        cls.call("up", "--nodes", str(NODES), "--slots", str(RANKS // NODES))
        cls.addClassCleanup(cls.call, "down")

    @classmethod
    def call(cls, *arguments, expect=0):
        done = subprocess.run([MUSTER, *arguments], check=False, env=cls.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
        text = done.stdout.decode(errors="replace")
        if done.returncode != expect:
            raise AssertionError(f"muster {arguments}: exit {done.returncode}\n{text}"
                                 + done.stderr.decode(errors="replace"))
        return text

    def until(self, holds, what):
        deadline = time.monotonic() + PATIENCE
        while True:
            value = holds()
            if value:
                return value
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def show(self, job):
        return json.loads(self.call("show", "--json", job))

    def submit(self, name, command, grace="600s"):
        """The number of a job on all slots, once it made 20 steps; and a folder of its own."""
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        path = os.path.join(folder, "job.yaml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"name": name, "nodes": NODES, "ranks_per_node": RANKS // NODES,
                       "grace": grace, "command": [*command, FOR_EVER, folder],
                       "env": {"PYTHONPATH": self.environment["PYTHONPATH"],
                               "PYTHONDONTWRITEBYTECODE": "1"}}, file)
        job = self.call("submit", path).strip()
        self.until(lambda: self.show(job).get("progress", {}).get("step", 0) >= 20,
                   f"no step of {name}")
        return job, folder

    # ---- under run --------------------------------------------------------------------------------

    def check_run(self, command):
        out = self.call("run", "-N", str(NODES), "--ranks-per-node", str(RANKS // NODES), "--",
                        *command, "10", self.folder)
        lines = sorted(line.partition("] ")[2] for line in out.splitlines())
        who = [f"rank {r} of 4, local {r % 2} of 2, node {r // 2} of 2, attempt 0" for r in range(4)]
        self.assertEqual(lines, ["done"] * 4 + who)

    def test_a_program_in_c_exchanges_keys_and_ends(self):
        self.check_run(RANK)

    def test_a_program_in_python_exchanges_keys_and_ends_and_its_workers_are_silent(self):
        self.check_run(TRAIN)

    # ---- stopped ----------------------------------------------------------------------------------

    def check_cancel(self, name, command):
        """All ranks leave at one step and have saved; were they left to their grace, of 600 s, this would
        not end in time."""
        job, folder = self.submit(name, command)
        self.call("cancel", job)
        self.call("wait", job, expect=143)
        saved = []
        for rank in range(RANKS):
            with open(os.path.join(folder, f"saved-{rank}"), encoding="ascii") as file:
                saved.append(int(file.read()))
        self.assertEqual(len(set(saved)), 1, saved)
        shown = self.show(job)
        self.assertEqual((shown["state"], shown["exit"]), ("cancelled", 143))
        progress = shown["progress"]
        self.assertIn(progress["phase"], progress["phase_seconds"])
        self.assertGreater(progress["phase_seconds"]["comm"], 0)
        self.assertRegex(self.call("show", job), r"(?m)^phase +\w+ \(rank 0\)\ntime in +.*\bcomm \d+%")
        self.assertEqual(self.call("logs", job).count("stopped"), RANKS)
        return job, saved[0]

    def check_curve(self, job, last_step):
        # An agent that is busy, or not back yet, makes `show` do without.
        curve = self.until(lambda: self.show(job).get("curve"), "no curve")
        self.assertEqual(curve[0]["step"], 1)
        self.assertEqual(curve[-1]["step"], last_step)
        for point in curve:
            self.assertEqual(point["loss"], 8 / point["step"])
            self.assertEqual(point["tokens"], 100 * point["step"])
            self.assertEqual(point["attempt"], 0)
        self.assertEqual([point["step"] for point in curve],
                         sorted({point["step"] for point in curve}))
        drawn = self.until(lambda: "|" in (page := self.call("show", job)) and page, "not drawn")
        self.assertRegex(drawn, r"(?m)^ +[0-9.]+ \|\*")
        self.assertRegex(drawn, rf"(?m)^ +step 1 +{last_step}$")

    def test_a_program_in_c_saves_when_it_is_cancelled_and_leaves_a_loss_curve(self):
        self.check_curve(*self.check_cancel("c", RANK))

    def test_a_program_in_python_saves_and_its_curve_outlives_the_coordinator(self):
        job, last_step = self.check_cancel("python", TRAIN)
        self.check_curve(job, last_step)
        self.assertIn("the workers were silent", self.call("events", job))
        before = self.coordinator()
        os.kill(before, signal.SIGKILL)
        self.until(lambda: self.coordinator() not in (None, before), "no new coordinator")
        self.check_curve(job, last_step)

    def test_one_that_only_reports_is_ended_by_sigterm(self):
        """Not left to its grace, either."""
        script = "import muster, sys; step = 0\nwhile True: step += 1; muster.progress(step)"
        job, _ = self.submit("reports", [PYTHON, "-c", script])
        self.call("cancel", job)
        self.call("wait", job, expect=143)

    def coordinator(self):
        """The pid of the one of this test's cluster."""
        mark = ("MUSTER_TEST_MARK=" + os.environ["MUSTER_TEST_MARK"]).encode()
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
                with open(f"/proc/{entry}/environ", "rb") as file:
                    ours = mark in file.read().split(b"\0")
            except OSError:
                continue
            if ours and words[1:2] == [b"coordinator"]:
                return int(entry)
        return None

    def test_keys_without_end_are_refused_and_told(self):
        script = ("import muster\n"
                  "if muster.rank() == 0:\n"
                  "    refused = None\n"
                  "    for number in range(5000):\n"
                  "        try: muster.kv_set(f'key {number}', bytes(59000))\n"
                  "        except muster.Error as error: refused = error; break\n"
                  "    print(number, refused)\n"
                  "    muster.kv_get('key 1000', timeout=0)\n"
                  "    try: muster.kv_get(f'key {number}', timeout=0)\n"
                  "    except TimeoutError: print('not set')\n")
        job = self.call("run", "--detach", "-N", str(NODES), "--ranks-per-node", "1", "--", PYTHON, "-c",
                        script).strip()
        self.call("wait", job)
        number, _, why = self.call("logs", "--rank", "0", job).partition(" ")
        self.assertEqual(why, f"the attempt has as many keys as it may have: key 'key {number}'\nnot set\n")
        self.assertGreaterEqual(int(number), (64 << 20) // 59200)
        self.assertRegex(self.call("events", job), r"key 'key \d+' and later ones are not set: an attempt may "
                                                   r"have 64 MiB of keys and values")

    # ---- the package ------------------------------------------------------------------------------

    def test_the_package_installs_with_pip_and_works_without_muster(self):
        venv = os.path.join(self.folder, "venv")
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("MUSTER_RANK", "MUSTER_LINK", "PYTHON", "OMPI_"))
                       and name not in ("RANK", "WORLD_SIZE")}
        python = os.path.join(venv, "bin", "python")

        def succeed(*command):
            return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, cwd=ROOT,
                                  stdout=subprocess.PIPE, env=environment,
                                  timeout=PATIENCE).stdout.decode()

        succeed(PYTHON, "-m", "venv", "--system-site-packages", "--without-pip", venv)
        succeed(python, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-index",
                "--disable-pip-version-check", ".")
        where = succeed(python, "-W", "error", "-c", ALONE).strip()
        self.assertTrue(where.startswith(venv), where)
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(where), "py.typed")))
        self.assertIn("rank 3 of 4",
                      self.call("run", "-N", "2", "--ranks-per-node", "2", "--", python, "-c",
                                "import muster; print('rank', muster.rank(), 'of', "
                                "muster.world_size()); assert muster.linked()"))
        self.check_words(succeed(python, "-c", "import muster; print(*muster.PHASES)"))

    def test_ids_of_nccl_go_through_the_keys(self):
        text = self.call("run", "-N", "2", "--ranks-per-node", "2", "--",
                         os.path.join(BUILD, "bin", "nccl_id"))
        ids = dict(re.findall(r"rank (\d) has id ([0-9a-f]+)", text))
        self.assertEqual(sorted(ids), ["0", "1", "2", "3"], text)
        self.assertEqual(len(set(ids.values())), 1, text)
        self.assertEqual(len(ids["0"]), 256, text)
        self.assertIn("rank 1 did not come", text)

    def check_words(self, phases):
        """The phases in Python are those of the header."""
        with open(os.path.join(ROOT, "runtime/client/muster_client.h"), encoding="utf-8") as file:
            numbers = re.findall(r"MUSTER_PHASE_([A-Z]+) = (\d+)", file.read())
        self.assertEqual(phases.split(), [name.lower() for name, _ in numbers])
        self.assertEqual([int(number) for _, number in numbers], list(range(len(numbers))))


if __name__ == "__main__":
    promises.main()
