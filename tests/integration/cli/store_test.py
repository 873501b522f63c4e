"""Training on a store that is full, read-only, or dead: what was committed stays whole, and the job ends
with a clear word, or goes on without checkpoints where its user wants that.  Needs root (mounts).

usage: store_test.py BIN [TEST...]
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
STEPS, EVERY = 12, 3
COMMIT_MIB = 10  # 3 arrays of 834,304 floats.


class Store(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = cls.enterClassContext(tempfile.TemporaryDirectory())
        alone = subprocess.run([os.path.join(BIN, "byte_gpt"), "--steps", str(STEPS), "--hash"],
                               check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        cls.hash = cls.hash_in(alone.stdout.decode())

    @staticmethod
    def hash_in(text):
        found = re.findall(r"parameters sha256 ([0-9a-f]{64})", text)
        return found[0] if len(found) == 1 else None

    def train(self, mount, *options):
        """(exit status, output, commits) of a run on a store that is a small disk of its own; the
        mount ends with the shell that made it."""
        run = " ".join([os.path.join(BIN, "muster"), "run", "-N", "2", "--ranks-per-node", "1",
                        "--checkpoint-store", self.store, *options, "--",
                        os.path.join(BIN, "byte_gpt"), "--steps", str(STEPS), "--checkpoint-every",
                        str(EVERY), "--hash"])
        script = f"""
            mount -t tmpfs {mount} store {self.store} || exit 99
            {run} 2>&1
            echo "exit $?"
            {BIN}/muster ckpt verify {self.store} >&2
            echo "verified $?"
            {BIN}/muster ckpt ls --json {self.store} >&2"""
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        output = done.stdout.decode(errors="replace")
        said = done.stderr.decode(errors="replace")
        status = re.search(r"^exit (\d+)$", output, re.MULTILINE)
        self.assertTrue(status, output + said)
        listed = json.loads(said[said.index("["):])
        commits = [commit["step"] for run in listed for commit in run["commits"]]
        # What there is, is whole; where nothing is, that is told.
        self.assertIn(f"verified {0 if commits else 2}\n", output, said)
        return int(status[1]), output, sorted(commits)

    def test_room_enough_is_no_error(self):
        status, output, commits = self.train(f"-o size={8 * COMMIT_MIB}m")
        self.assertEqual((status, commits), (0, [6, 9, 12]), output)
        self.assertEqual(self.hash_in(output), self.hash)

    def test_by_way_of_a_local_store_the_bits_are_the_same(self):
        local = self.enterContext(tempfile.TemporaryDirectory())
        status, output, commits = self.train(f"-o size={8 * COMMIT_MIB}m", "--checkpoint-local", local)
        self.assertEqual((status, commits), (0, [6, 9, 12]), output)
        self.assertEqual(self.hash_in(output), self.hash)
        self.assertEqual(os.listdir(local), [], "all was moved")
        self.assertNotIn("local store", output, "nothing went past it")

    def test_a_full_store_ends_the_job_with_its_name_and_keeps_what_is_committed(self):
        status, output, commits = self.train(f"-o size={5 * COMMIT_MIB // 2}m")
        self.assertEqual((status, commits), (1, [3, 6]), output)
        self.assertIn(f"the store {self.store} failed: ", output)
        self.assertIn("No space left on device", output)
        self.assertIsNone(self.hash_in(output), output)

    def test_a_full_store_is_gone_without_where_that_is_asked_for(self):
        status, output, commits = self.train(f"-o size={5 * COMMIT_MIB // 2}m",
                                             "--checkpoint-optional")
        self.assertEqual((status, commits), (0, [3, 6]), output)
        self.assertIn("checkpoint of step 9 is NOT committed: ", output)
        self.assertIn("No space left on device", output)
        self.assertEqual(self.hash_in(output), self.hash)

    def test_a_read_only_store_ends_the_job_with_its_name(self):
        status, output, commits = self.train("-o ro")
        self.assertEqual((status, commits), (1, []), output)
        self.assertIn(f"the store {self.store} failed: ", output)
        self.assertIn("Read-only file system", output)

    def test_a_read_only_store_is_gone_without_where_that_is_asked_for(self):
        status, output, commits = self.train("-o ro", "--checkpoint-optional")
        self.assertEqual((status, commits), (0, []), output)
        self.assertIn("checkpoint of step 3 is NOT committed: ", output)
        self.assertEqual(self.hash_in(output), self.hash)

    def test_movers_that_no_kill_ends_hold_up_neither_the_job_nor_its_cluster(self):
        """The store stops to answer in the middle of a save, for ever."""
        if not os.path.exists("/dev/fuse"):
            self.skipTest("SKIPPED: needs /dev/fuse")
        folder = self.enterContext(tempfile.TemporaryDirectory())
        job = {"nodes": 2, "ranks_per_node": 1,
               "command": [os.path.join(BIN, "byte_gpt"), "--steps", "4", "--checkpoint-every", "2", "--hash"],
               "checkpoint": {"store": self.store, "required": False, "deadline": "1s",
                              "limit_mb_per_s": 5}}  # Two seconds a save.
        with open(os.path.join(folder, "job.yaml"), "w", encoding="ascii") as file:
            json.dump(job, file)
        script = f"""
            mount -t tmpfs store {self.store}
            export HOME={folder} XDG_RUNTIME_DIR={folder}
            muster() {{ timeout 60 {BIN}/muster "$@"; }}
            muster up --nodes 2 --slots 1
            muster submit {folder}/job.yaml
            for try in $(seq 3000); do  # A minute.
              ls {self.store}/*/data/*/.shard-* >/dev/null 2>&1 && break
              sleep 0.02
            done
            mkfifo {folder}/in
            {BIN}/dead_share {self.store}/*/data <{folder}/in &
            exec 9>{folder}/in
            status=0; muster wait 1 || status=$?
            muster logs 1; muster events 1
            echo "exit $status"
            muster down; echo "down $?"
            ps -o stat=,args= -A | grep "muster mover$" """
        done = subprocess.run(["unshare", "--mount", "bash", "-c", script], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120)
        output = done.stdout.decode(errors="replace")
        for line in ("mounted", "caught", "exit 0", "down 0"):
            self.assertIn(f"{line}\n", output)
        self.assertIn("the store has not answered for", output)
        self.assertRegex(output, r"D\S* +muster mover\n", "they are still there")
        alone = subprocess.run([os.path.join(BIN, "byte_gpt"), "--steps", "4", "--hash"],
                               check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.assertEqual(self.hash_in(output), self.hash_in(alone.stdout.decode()), output)


if __name__ == "__main__":
    promises.main(needs_root="mounts")
