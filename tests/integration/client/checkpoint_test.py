"""Saves and loads of the client library under muster, in C and in Python.

usage: checkpoint_test.py ROOT_OF_THE_REPOSITORY BUILD_FOLDER [Checkpoints.test_NAME...]
"""

import glob
import json
import os
import re
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
TRAIN = [PYTHON, os.path.join(HERE, "checkpoint_train.py")]
MISTAKES = [PYTHON, os.path.join(HERE, "checkpoint_mistakes.py")]
RANK = [os.path.join(BUILD, "bin", "checkpoint_rank")]
PATIENCE = 60  # Seconds, for what takes a few.


class Checkpoints(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="muster-client-"))
        cls.environment = {**os.environ, "PYTHONPATH": os.path.join(BUILD, "python"),
                           "PYTHONDONTWRITEBYTECODE": "1"}
        cls.call("up", "--nodes", "2", "--slots", "2")
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
        while not holds():
            self.assertLess(time.monotonic(), deadline, what())
            time.sleep(0.05)

    def newest(self):
        """The job that was submitted last."""
        return max(json.loads(self.call("list", "--json", "--all")), key=lambda job: job["job"])

    def ended(self, job):
        state = json.loads(self.call("show", "--json", job))["state"]
        self.assertNotIn(state, ("failed", "succeeded"), self.call("logs", job))

    def places(self, name):
        folder, store = (os.path.join(self.folder, name, part) for part in ("work", "store"))
        os.makedirs(folder)
        os.makedirs(store)
        return folder, store

    def commits(self, store):
        """Generation and step of each, the newest first."""
        return re.findall(r"\bg(\d+)-s(\d+) ", self.call("ckpt", "ls", store))

    # ---- the promise ------------------------------------------------------------------------------

    def check_restart(self, name, command):
        """Four ranks save; one dies in the middle of a save; two go on from what was committed."""
        folder, store = self.places(name)
        path = os.path.join(self.folder, name, "job.yaml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"name": name, "nodes": {"min": 1, "max": 2}, "ranks_per_node": 2, "grace": "600s",
                       "restart": {"max": 1}, "checkpoint": {"store": store},
                       "command": [*command, "7", folder],
                       "env": {"PYTHONPATH": self.environment["PYTHONPATH"],
                               "PYTHONDONTWRITEBYTECODE": "1"}}, file)
        job = self.call("submit", path).strip()
        self.until(lambda: self.call("logs", job).count("committed step 4") == 4 or self.ended(job),
                   lambda: self.call("logs", job) + self.call("show", job))
        self.call("drain", "n1", "--reason", "so that the next attempt has one node")
        self.addCleanup(self.call, "resume", "n1")
        with open(os.path.join(folder, "go"), "w", encoding="ascii"):
            pass
        self.call("wait", job)
        logs = self.call("logs", job)
        self.assertEqual(logs.count("the run has no checkpoint yet"), 4, logs)
        self.assertEqual(logs.count("2 ranks loaded step 4 right"), 2, logs)
        self.assertEqual(self.commits(store), [("2", "6"), ("1", "4"), ("1", "2")])
        self.assertIn("whole", self.call("ckpt", "verify", "--deep", store))
        return store

    def test_in_c_a_restart_goes_on_from_what_was_committed_on_fewer_ranks(self):
        self.check_restart("c", RANK)

    def test_in_python_a_restart_goes_on_from_what_was_committed_on_fewer_ranks(self):
        self.check_shards(self.check_restart("python", TRAIN))

    def check_shards(self, store):
        """Every byte is there once, and the ranks wrote equally much."""
        sizes = [os.path.getsize(path)
                 for path in glob.glob(os.path.join(store, "*/data/g0000000001-s000000000004-*/shard-*"))]
        self.assertEqual(len(sizes), 2)
        self.assertLess(max(sizes), 1.5 * min(sizes))
        out = subprocess.run([PYTHON, "-c", OPEN_SHARDS, store], check=True, capture_output=True,
                             timeout=PATIENCE).stdout.decode().strip()
        print(out)
        self.assertTrue(out == "2 shards opened" or out.startswith("skipped"), out)

    def test_byte_gpt_goes_on_from_what_a_script_of_pytorch_saved(self):
        if subprocess.run([PYTHON, "-c", "import torch"], check=False, capture_output=True).returncode:
            self.skipTest("skipped: there is no torch")
        _, store = self.places("pytorch")
        out = self.call("run", "-N", "2", "--ranks-per-node", "1", "--checkpoint-store", store, "--",
                        PYTHON, os.path.join(ROOT, "examples/pytorch_gpt/train.py"), "--steps", "30")
        run, loss = re.search(r"run (\w+)", out)[1], float(re.search(r"loss ([0-9.]+)", out)[1])
        self.assertLess(loss, 5)  # Of bytes it knows nothing of, 5.5.
        self.assertIn("whole", self.call("ckpt", "verify", "--deep", store))
        shown = self.call("ckpt", "show", store, run)
        self.assertIn("exp_avg_sq.h.3.mlp.proj.weight", shown)
        again = subprocess.run([os.path.join(BUILD, "bin", "byte_gpt"), "--checkpoint-dir", store, "--run", run,
                                "--steps", "32"], check=True, capture_output=True, timeout=PATIENCE)
        told = again.stdout.decode()
        self.assertIn("restored step 30 from a commit", told)
        self.assertLess(float(re.search(r"step 32/32 loss ([0-9.]+)", told)[1]), 5, told)

    def test_dtensors_of_pytorch_come_back_on_another_mesh(self):
        python = os.environ.get("MUSTER_TORCH_PYTHON", PYTHON)
        if subprocess.run([python, "-c", "from torch.distributed.fsdp import fully_shard"], check=False,
                          capture_output=True).returncode:
            self.skipTest("skipped: there is no torch with DTensor and fully_shard (2.6 or newer; "
                          "MUSTER_TORCH_PYTHON names a Python that has it)")
        folder, store = self.places("dtensors")
        path = os.path.join(self.folder, "dtensors", "job.yaml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"name": "dtensors", "nodes": {"min": 1, "max": 2}, "ranks_per_node": 2,
                       "restart": {"max": 1}, "checkpoint": {"store": store},
                       "command": [python, os.path.join(HERE, "checkpoint_dtensor.py"), folder],
                       "env": {"PYTHONPATH": self.environment["PYTHONPATH"],
                               "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}}, file)
        job = self.call("submit", path).strip()
        self.call("wait", job)
        logs = self.call("logs", job)
        self.assertEqual(logs.count("DTensors right"), 4, logs)
        self.assertIn("whole", self.call("ckpt", "verify", "--deep", store))

    # ---- a run after the end of its job --------------------------------------------------------------

    def test_a_later_job_goes_on_with_the_run_of_one_that_ended(self):
        _, store = self.places("later")
        steps = [*TWO_STEPS_MORE, ""]
        under = ["run", "-N", "2", "--ranks-per-node", "1", "--checkpoint-store", store]
        self.assertEqual(self.call(*under, "--", *steps).count("begins after step 0"), 2)
        run = self.newest()["run_id"]
        again = self.call(*under, "--checkpoint-resume", run, "--", *steps)
        self.assertEqual(again.count("begins after step 2"), 2, again)
        self.assertEqual(self.newest()["run_id"], run)
        self.assertEqual(self.commits(store), [("2", "4"), ("1", "2")])
        self.assertIn("whole", self.call("ckpt", "verify", "--deep", store))

    def test_a_run_that_the_store_does_not_have_is_not_begun_from_nothing(self):
        _, store = self.places("unknown")
        for more in ([], ["--checkpoint-optional"]):
            done = subprocess.run([MUSTER, "run", "--checkpoint-store", store, "--checkpoint-resume", "0" * 32, *more,
                                   "--", *TWO_STEPS_MORE, ""], check=False, env=self.environment,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
            told = done.stderr.decode()
            self.assertNotEqual(done.returncode, 0, told)
            self.assertIn(f"the store {store} failed: it has no run {'0' * 32} to go on with; `muster ckpt ls` lists "
                          "those it has", told)
            self.assertEqual(os.listdir(store), [])

    def test_jobs_of_one_run_come_one_after_the_other(self):
        folder, store = self.places("turns")
        under = ["run", "--detach", "-N", "1", "--ranks-per-node", "1", "--checkpoint-store", store]
        first = self.call(*under, "--", *TWO_STEPS_MORE, os.path.join(folder, "go")).strip()
        run = json.loads(self.call("show", "--json", first))["run_id"]
        under += ["--checkpoint-resume", run, "--", *TWO_STEPS_MORE]
        second, third = (self.call(*under, "").strip() for _ in range(2))
        waits = [self.call("show", job) for job in (second, third)]
        for text in waits:
            self.assertIn(f"waits for the end of job {first}, which has the same run, {run}", text)
        with open(os.path.join(folder, "go"), "w", encoding="ascii"):
            pass
        for job, step in ((first, 0), (second, 2), (third, 4)):
            self.call("wait", job)
            self.assertIn(f"begins after step {step}", self.call("logs", job))

    # ---- mistakes ---------------------------------------------------------------------------------

    def test_every_mistake_is_told_and_costs_no_later_save(self):
        _, store = self.places("mistakes")
        out = self.call("run", "-N", "2", "--ranks-per-node", "2", "--checkpoint-store", store, "--",
                        *MISTAKES)
        self.assertEqual(out.count("all mistakes were told"), 4, out)
        self.assertEqual(self.commits(store)[0], ("1", "9"))

    def test_without_a_store_a_save_is_an_error(self):
        script = ("import muster, numpy\n"
                  "assert not muster.can_save() and muster.load() is None and muster.wait_saved() is None\n"
                  "try: muster.save(1, {'a': numpy.zeros(3)})\n"
                  "except muster.Error as error: print(error)\n")
        under = self.call("run", "--", PYTHON, "-c", script)
        self.assertIn("step 1 is not saved: the job has no checkpoint store; give it one by checkpoint: {store: "
                      "FOLDER} in the job file, or by --checkpoint-store FOLDER", under)
        alone = subprocess.run([PYTHON, "-c", script], check=True, env=self.environment,
                               capture_output=True, timeout=PATIENCE).stdout.decode()
        self.assertIn("step 1 is not saved: this process does not run under muster", alone)

    def test_what_is_staged_outlives_its_rank(self):
        """It was killed at once, with no time to wait for the commit."""
        _, store = self.places("killed")
        script = ("import muster, numpy, os, signal\n"
                  "me, found = muster.rank(), muster.load()\n"
                  "if found: print('went on from', found.step, found.state['rank'][:].tolist())\n"
                  "else:\n"
                  "    muster.save(3, {'rank': muster.Shard(numpy.array([me]), (me,), (2,))})\n"
                  "    muster.kv_set(f'staged {me}', '')\n"
                  "    muster.kv_get(f'staged {1 - me}')\n"
                  "    os.kill(os.getpid(), signal.SIGKILL)\n")
        out = self.call("run", "-N", "2", "--ranks-per-node", "1", "--max-restarts", "1", "--checkpoint-store",
                        store, "--", PYTHON, "-c", script)
        self.assertEqual(out.count("went on from 3 [0, 1]"), 2, out)

    def test_a_save_that_finds_no_free_memory_is_skipped_with_a_warning(self):
        _, store = self.places("busy")
        path = os.path.join(self.folder, "busy", "job.yaml")
        script = ("import muster, numpy, warnings\n"
                  "weights = numpy.ones((2, 1 << 20), numpy.uint8)\n"
                  "with warnings.catch_warnings(record=True) as told:\n"
                  "    warnings.simplefilter('always')\n"
                  "    print(*[muster.save(step, {'w': weights}, timeout=0) for step in (1, 2, 3)])\n"
                  "    print(*[warning.message for warning in told])\n"
                  "    print(muster.wait_saved(60))\n"
                  "    print(muster.save(4, {'w': weights}), muster.wait_saved(60))\n")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"name": "busy", "nodes": 1, "ranks_per_node": 1,
                       "checkpoint": {"store": store, "limit_mb_per_s": 4}, "command": [PYTHON, "-c", script],
                       "env": {"PYTHONPATH": self.environment["PYTHONPATH"]}}, file)
        job = self.call("submit", path).strip()
        self.call("wait", job)
        why = "step 3 was not saved: both staging memories of this node are still being written"
        self.assertEqual(self.call("logs", job), f"True True False\nmuster: {why}\n2\nTrue 4\n")

    def test_a_save_that_a_node_does_not_come_to_ends_and_names_it(self):
        _, store = self.places("alone")
        path = os.path.join(self.folder, "alone", "job.yaml")
        script = ("import muster, numpy\n"
                  "def save(step):\n"
                  "    muster.save(step, {'a': numpy.ones(3)}, timeout=1)\n"
                  "    try: print(muster.wait_saved(), flush=True)\n"
                  "    except muster.Error as error: print(error, flush=True)\n"
                  "if muster.rank() == 0: save(1)\n"
                  "muster.kv_set(f'{muster.rank()} has heard', '')\n"
                  "muster.kv_get('0 has heard')\n"
                  "if muster.rank() == 1: save(1)\n"  # Too late.
                  "save(2)\n"
                  "muster.kv_set(f'{muster.rank()} has saved', '')\n"
                  "muster.kv_get('0 has saved')\n"
                  "if muster.rank() == 0: save(3)\n")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"name": "alone", "nodes": 2, "ranks_per_node": 1, "command": [PYTHON, "-c", script],
                       "checkpoint": {"store": store, "deadline": "5s"},
                       "env": {"PYTHONPATH": self.environment["PYTHONPATH"]}}, file)
        job = self.call("submit", path).strip()
        self.call("wait", job)
        why = "; all ranks save the same steps, in the same order, not rank 0 alone"
        late = "rank 1 (node n1) did not save it in time" + why
        ended = "rank 1 (node n1) did not save it and ended" + why
        self.assertEqual(self.call("logs", "--rank", "0", job).splitlines(),
                         ["step 1 was not saved: " + late, "2", "step 3 was not saved: " + ended])
        self.assertEqual(self.call("logs", "--rank", "1", job).splitlines(),
                         ["step 1 was not saved: " + late, "2"])
        events = self.call("events", job)
        for told in ("step 1 is not saved: " + late, "step 3 is not saved: " + ended):
            self.assertEqual(events.count(told), 1, events)
        self.assertEqual(self.commits(store), [("1", "2")])

    def test_ranks_of_a_node_that_do_not_save_are_named_in_the_story_of_the_job(self):
        _, store = self.places("rank0")
        script = ("import muster, numpy\n"
                  "if muster.rank() == 0:\n"
                  "    try: muster.save(1, {'a': numpy.ones(3)}, timeout=0.2)\n"
                  "    except muster.Error as error: print(error)\n"
                  "    muster.kv_set('told', '')\n"
                  "muster.kv_get('told')\n")
        job = self.call("run", "--detach", "-N", "1", "--ranks-per-node", "2", "--checkpoint-store", store, "--",
                        PYTHON, "-c", script).strip()
        self.call("wait", job)
        why = "rank 1 did not save step 1 in time; all ranks save the same steps, in the same order, not rank 0 alone"
        self.assertIn("step 1 was not saved: " + why, self.call("logs", job))
        self.assertIn("step 1 is not saved: " + why, self.call("events", job))

    def test_a_load_that_one_rank_makes_alone_costs_only_itself(self):
        """On two nodes, and by ranks of one: all go on from the same step afterwards."""
        script = ("import muster, numpy\n"
                  "def load(**how):\n"
                  "    try: found = muster.load(**how)\n"
                  "    except (muster.Error, TimeoutError) as error: return print(error, flush=True)\n"
                  "    print('loaded', found.step, found.state['w'].tolist(), flush=True)\n"
                  "def save(step):\n"
                  "    muster.save(step, {'w': numpy.full(2, step)})\n"
                  "    muster.wait_saved()\n"
                  "save(1)\n"
                  "if muster.rank() == ODD: load(timeout=1)\n"
                  "muster.kv_set(f'told {muster.rank()}', '')\n"
                  "muster.kv_get(f'told {ODD}')\n"
                  "save(2)\n"
                  "load(), load('w*')\n")
        for nodes, ranks, odd, missing in ((2, 1, 0, "rank 1 (node n1)"), (2, 1, 1, "rank 0 (node n0)"),
                                           (1, 2, 0, "rank 1"), (1, 2, 1, "rank 0")):
            _, store = self.places(f"alone{nodes}{odd}")
            out = self.call("run", "-N", str(nodes), "--ranks-per-node", str(ranks), "--checkpoint-store", store, "--",
                            PYTHON, "-c", script.replace("ODD", str(odd)).replace("load('w*')", "load(pattern='w*')"))
            self.assertEqual(out.count(f"{missing} did not load in time; all ranks load alike"), 1, out)
            self.assertEqual(out.count("loaded 2 [2, 2]"), 4, out)

    def test_threads_take_turns_and_forked_children_are_told(self):
        _, store = self.places("threads")
        out = self.call("run", "-N", "1", "--ranks-per-node", "1", "--checkpoint-store", store, "--", PYTHON,
                        os.path.join(HERE, "checkpoint_threads.py"))
        self.assertIn("all as promised", out)

    def test_a_state_without_tensors_comes_back(self):
        _, store = self.places("numbers")
        script = ("import muster\n"
                  "muster.save(1, {'epoch': 3, 'seen': ['a', 2.5]})\n"
                  "muster.wait_saved(60)\n"
                  "state = {'epoch': 0, 'seen': ['', 0]}\n"
                  "print(muster.load().state, muster.load_into(state), state)\n"
                  "print(muster.load('epoch').state, muster.load('seen*').state)\n"
                  "try: muster.load('epochs')\n"
                  "except muster.Error as error: print(error)\n")
        out = self.call("run", "-N", "2", "--ranks-per-node", "1", "--checkpoint-store", store, "--", PYTHON, "-c",
                        script)
        self.assertEqual(out.count("{'epoch': 3, 'seen': ['a', 2.5]} (1, {}) {'epoch': 3, 'seen': ['a', 2.5]}"), 2, out)
        self.assertEqual(out.count("{'epoch': 3} {'seen': ['a', 2.5]}"), 2, out)
        self.assertEqual(out.count('no tensor of the checkpoint matches "epochs"'), 2, out)

    def test_who_is_told_to_stop_saves_and_leaves_with_it_committed(self):
        _, store = self.places("stop")
        script = ("import muster, numpy, time\n"
                  "step, weights = 0, numpy.zeros((4, 1 << 20), numpy.float32)\n"
                  "while not muster.should_stop():\n"
                  "    step += 1\n"
                  "    muster.progress(step)\n"
                  "    time.sleep(0.01)\n"
                  "muster.save(step, {'weights': weights, 'step': step})\n"
                  "print('saved', step)\n")
        job = self.call("run", "--detach", "-N", "2", "--ranks-per-node", "2", "--checkpoint-store", store, "--",
                        PYTHON, "-c", script).strip()
        self.until(lambda: json.loads(self.call("show", "--json", job)).get("progress", {}).get("step", 0) > 3,
                   lambda: self.call("show", job))
        self.call("cancel", job)
        self.call("wait", job, expect=143)
        saved = set(re.findall(r"saved (\d+)", self.call("logs", job)))
        self.assertEqual(len(saved), 1)
        self.assertEqual(self.commits(store), [("1", saved.pop())])


TWO_STEPS_MORE = [PYTHON, "-c", """
import muster, numpy, os, sys, time
found = muster.load()
step = found.step if found else 0
print("begins after step", step, flush=True)
while sys.argv[1] and not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
muster.save(step + 2, {"weights": numpy.full(9, step)})
"""]

OPEN_SHARDS = """
import glob, sys
try:
    from safetensors import safe_open
except ImportError:
    print("skipped: Hugging Face's safetensors is not installed")
    sys.exit()
shards = sorted(glob.glob(sys.argv[1] + "/*/data/g0000000001-s000000000004-*/shard-*"))
for shard in shards:
    with safe_open(shard, framework="numpy") as file:
        for name in file.keys():
            file.get_slice(name).get_shape()
print(len(shards), "shards opened")
"""


if __name__ == "__main__":
    promises.main()
