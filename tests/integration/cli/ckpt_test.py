"""`muster ckpt` on what a real job left: what is kept, looked at, exported, pinned, adopted.

usage: ckpt_test.py BIN [TEST...]
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
MUSTER = os.path.join(BIN, "muster")


class Ckpt(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """A job of two nodes that saved steps 2 to 10; the last two stayed, and the first of all."""
        cls.whole = cls.enterClassContext(tempfile.TemporaryDirectory())
        done = subprocess.run(
            [MUSTER, "run", "-N", "2", "--ranks-per-node", "1", "--checkpoint-store", cls.whole,
             "--checkpoint-keep", "last=2,every=9999d", "--checkpoint-metadata", "dataset=v3",
             "--name", "kept", "--", os.path.join(BIN, "byte_gpt"), "--steps", "10", "--checkpoint-every", "2"],
            check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        (cls.run_id,) = os.listdir(cls.whole)

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.store = os.path.join(folder, "store")
        self.out = os.path.join(folder, "out")
        shutil.copytree(self.whole, self.store)

    def ckpt(self, action, *options, status=0):
        """What it prints with --json; with a status that is not 0, what it complains about."""
        done = subprocess.run([MUSTER, "ckpt", action, "--json", self.store, *options], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        said = done.stdout.decode() + done.stderr.decode()
        self.assertEqual(done.returncode, status, said)
        return json.loads(done.stdout) if status == 0 or done.stdout.startswith(b"[") else said

    def commits(self):
        return [commit["commit"] for commit in self.ckpt("ls")[0]["commits"]]

    def shard(self, commit):
        data = os.path.join(self.store, self.run_id, "data")
        step = int(commit.split("-s")[1])
        (folder,) = [name for name in os.listdir(data) if f"-s{step:012}-" in name]
        return os.path.join(data, folder, "shard-00001-of-00002.safetensors")

    def test_the_job_kept_what_its_rules_say(self):
        self.assertEqual(self.commits(), ["g1-s10", "g1-s8", "g1-s2"])
        self.assertEqual(self.ckpt("ls")[0]["rubbish"], [])

    def test_show_tells_job_nodes_and_sampler_and_picks_tensors(self):
        (shown,) = self.ckpt("show", self.run_id, "--commit", "g1-s8")
        topology, metadata = shown["topology"], shown["metadata"]
        self.assertEqual((shown["commit"], topology["nodes"], topology["ranks"]), ("g1-s8", 2, 2))
        self.assertEqual([host["ranks"] for host in topology["hosts"]], [1, 1])
        self.assertEqual((metadata["job"]["name"], metadata["dataset"]), ("kept", "v3"))
        self.assertEqual(metadata["job"]["command"][1:3], ["--steps", "10"])
        self.assertIn("seed", shown["host_state"]["run"])
        name = shown["tensors"][0]["name"]
        (some,) = self.ckpt("show", self.run_id, "--tensor", name)
        self.assertEqual([tensor["name"] for tensor in some["tensors"]], [name])
        self.assertIn("no tensor of the checkpoint matches", self.ckpt("show", "--tensor", "nope*",
                                                                       status=2))

    def test_verify_places_a_flipped_bit(self):
        path = self.shard("g1-s8")
        at = os.path.getsize(path) - 12345
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 16]))
        self.assertEqual(self.ckpt("verify", "--deep")[0]["damage"], [], "of the newest commit")
        (found,) = self.ckpt("verify", self.run_id, "--commit", "g1-s8", status=1)
        (damage,) = found["damage"]
        self.assertEqual((damage["begin"], damage["end"], damage["mib"]), (at, at + 1, at >> 20))
        self.assertIn("bit 4 of byte", damage["what"])
        self.assertEqual(len(damage["tensors"]), 1)
        self.assertEqual(os.listdir(os.path.join(self.store, self.run_id, "pins")), [])

    def test_gc_keeps_what_rules_and_pins_say_and_tells_before(self):
        self.assertEqual(self.ckpt("gc")[0]["commits"], 0, "without rules no commit goes")
        self.ckpt("pin", self.run_id, "--commit", "g1-s8", "--reason", "paper")
        (plan,) = self.ckpt("gc", "--keep", "last=1", "--dry-run")
        self.assertEqual([commit.get("kept") for commit in plan["commits"]],
                         ["last 1", "pinned", None])
        self.assertEqual(len(self.commits()), 3)
        freed = self.ckpt("gc", "--keep", "last=1")[0]
        self.assertEqual((freed["commits"], freed["folders"]), (1, 1))
        self.assertEqual(self.commits(), ["g1-s10", "g1-s8"])
        self.ckpt("unpin", self.run_id, "--commit", "g1-s8")
        self.assertIn("has no pin", self.ckpt("unpin", self.run_id, "--commit", "g1-s8", status=2))
        self.ckpt("gc", "--keep", "last=1,best=1,metric=loss_ema")
        self.assertEqual(self.commits()[0], "g1-s10")

    def test_who_drops_a_damaged_commit_goes_on_from_the_one_before(self):
        with open(self.shard("g1-s10"), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        resume = [MUSTER, "run", "-N", "1", "--ranks-per-node", "1", "--checkpoint-store", self.store,
                  "--checkpoint-resume", self.run_id, "--", os.path.join(BIN, "byte_gpt"), "--steps", "10",
                  "--checkpoint-every", "2"]
        done = subprocess.run(resume, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("CRC-32C", done.stderr.decode())
        self.assertIn("`muster ckpt drop` lets the commit before it be the newest", done.stderr.decode())
        told = self.ckpt("drop", self.run_id, "--commit", "g1-s10")
        self.assertEqual((told["dropped"], told["newest"]), ("g1-s10", "g1-s8"))
        self.assertEqual(self.commits(), ["g1-s8", "g1-s2"])
        self.assertEqual(self.ckpt("ls")[0]["rubbish"], [])
        done = subprocess.run(resume, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertIn("restored step 8 from a commit", done.stdout.decode())

    def test_drop_refuses_what_is_pinned_or_not_there(self):
        self.ckpt("pin", self.run_id, "--commit", "g1-s8")
        self.assertIn("since it is pinned", self.ckpt("drop", self.run_id, "--commit", "g1-s8", status=2))
        self.assertIn("has no commit g1-s9; `muster ckpt ls`", self.ckpt("drop", self.run_id, "--commit", "g1-s9",
                                                                        status=2))
        self.assertIn("--commit is missing", self.ckpt("drop", self.run_id, status=2))
        self.assertEqual(self.commits(), ["g1-s10", "g1-s8", "g1-s2"])

    def test_adopt_commits_what_is_whole_and_nothing_else(self):
        record = os.path.join(self.store, self.run_id, "commits", "g0000000001-s000000000010.json")
        os.remove(record)
        self.assertEqual(self.commits()[0], "g1-s8")
        path = self.shard("g1-s10")
        with open(path, "rb") as file:
            good = file.read()
        with open(path, "wb") as file:
            file.write(good[:-1] + bytes([good[-1] ^ 1]))
        self.assertIn("differ", self.ckpt("adopt", self.run_id, "--commit", "g1-s10", status=1))
        with open(path, "wb") as file:
            file.write(good)
        self.ckpt("adopt", self.run_id, "--commit", "g1-s10")
        self.assertEqual(self.commits()[0], "g1-s10")
        self.assertEqual(self.ckpt("verify")[0]["damage"], [])

    def test_mistakes_are_told(self):
        for options, word in [
                (("ls", "--out", "x"), "--out goes with export; not with ls"),
                (("export", self.run_id), "--out is missing"),
                (("pin",), "RUN is missing"),
                (("adopt", self.run_id), "--commit is missing"),
                (("gc", "--keep", "newest=3"), "'newest=3' is no rule"),
                (("verify", "--deep", "--quick"), "excludes"),
                (("export", self.run_id, "--out", "x", "--max-shard-size", "5Q"), "'5Q' is no size"),
                (("show", self.run_id, "--commit", "g9-s9"), "has no commit g9-s9; it has 3"),
                (("show", self.run_id, "--commit", "latest"), "'latest' names no commit"),
                (("verify", self.run_id, "--tensor", "nope*"), "no tensor of the checkpoint matches"),
                (("export", self.run_id, "--out", self.out, "--tensor", "nope*"), "no tensor of the checkpoint matches"),
                (("pin", self.run_id, "--for", "0s"), "leave --for out"),
                (("pin", self.run_id, "--for", "9"), "with a unit")]:
            self.assertIn(word, self.ckpt(*options, status=2), options)
        os.mkdir(self.out)
        with open(os.path.join(self.out, "mine"), "w", encoding="ascii"):
            pass
        self.assertIn("is not empty", self.ckpt("export", self.run_id, "--out", self.out, status=2))

    def test_export_is_read_by_the_safetensors_library(self):
        exported = self.ckpt("export", self.run_id, "--out", self.out, "--max-shard-size", "2M")
        self.assertGreater(len(exported["files"]), 2)
        with open(os.path.join(self.out, "model.safetensors.index.json"), encoding="utf-8") as file:
            index = json.load(file)
        (shown,) = self.ckpt("show", self.run_id)
        shapes = {tensor["name"]: tensor["shape"] for tensor in shown["tensors"]}
        self.assertEqual(sorted(index["weight_map"]), sorted(shapes))
        try:
            import safetensors  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("SKIPPED: this Python has no safetensors (pip install safetensors numpy)")
        for name, file in index["weight_map"].items():
            with safetensors.safe_open(os.path.join(self.out, file), framework="numpy") as opened:
                self.assertEqual(list(opened.get_tensor(name).shape), shapes[name])


class Share(unittest.TestCase):
    MB_PER_S = 4
    COMMIT = 3 * 4 * 834304  # Bytes: three arrays of floats.

    def limit(self, share):
        """Says it in the cluster file, which a coordinator reads when it starts."""
        with open(os.path.join(self.state, "cluster.yaml"), "a", encoding="utf-8") as file:
            file.write(f"shares:\n  - {{path: {share}, limit_mb_per_s: {self.MB_PER_S}}}\n")
        words = f"--state\0{self.state}\0".encode()
        (pid,) = [int(pid) for pid in os.listdir("/proc") if pid.isdigit()
                  and self.command_line(pid).startswith(b"muster\0coordinator\0")
                  and words in self.command_line(pid)]
        os.kill(pid, signal.SIGKILL)  # Its keeper starts another one.
        for _ in range(1200):
            asked = subprocess.run([MUSTER, "nodes", "--cluster", self.state, "--json"],
                                   check=False, capture_output=True, timeout=120)
            if asked.returncode == 0 and self.command_line(pid) == b"":
                return
            time.sleep(0.05)
        self.fail(asked)

    @staticmethod
    def command_line(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return file.read()
        except OSError:
            return b""

    def test_two_jobs_on_a_share_write_no_more_than_its_limit_together(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        share = os.path.join(folder, "share")
        up = subprocess.run([MUSTER, "up", "--json", "--nodes", "2", "--slots", "1", "--name",
                             "shares"], check=True, capture_output=True, timeout=120)
        self.addCleanup(subprocess.run, [MUSTER, "down", "--name", "shares"], check=True,
                        stdout=subprocess.DEVNULL, timeout=120)
        self.state = json.loads(up.stdout)["state_dir"]
        self.limit(share)
        for name in "ab":
            os.makedirs(os.path.join(share, name))
        runs = [subprocess.Popen([MUSTER, "run", "--cluster", self.state, "-N", "1",
                                  "--checkpoint-store", os.path.join(share, name), "--",
                                  os.path.join(BIN, "byte_gpt"), "--steps", "1",
                                  "--checkpoint-every", "1"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                for name in "ab"]
        for run in runs:
            said = run.communicate(timeout=120)[0]
            self.assertEqual(run.returncode, 0, said)
        for name in "ab":
            # From a claim, before any byte, to the record, behind all: half of the share's limit.
            (run,) = os.listdir(os.path.join(share, name))
            (claim,), (commit,) = ([
                os.path.join(share, name, run, kind, file)
                for file in os.listdir(os.path.join(share, name, run, kind))
                if file.endswith(".json")] for kind in ("claims", "commits"))
            seconds = os.stat(commit).st_mtime - os.stat(claim).st_mtime
            self.assertGreaterEqual(seconds, 0.95 * self.COMMIT / (self.MB_PER_S / 2 * 1e6))


if __name__ == "__main__":
    promises.main()
