"""Programs of others on eight hosts of two slots, in network namespaces: nothing but the network joins
them.  Needs root.

usage: nodes_test.py BIN [TEST...]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
sys.path.insert(0, HERE)

import promises  # noqa: E402
import surroundings  # noqa: E402
from cluster import Cluster  # noqa: E402
from expected import Expect, misfits, without_rank  # noqa: E402
from hosts import Hosts  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
HOSTS, SLOTS = 8, 2
RANKS = HOSTS * SLOTS


class Nodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="muster-nodes-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.hosts = cls.enterClassContext(Hosts(HOSTS))
        cls.cluster = cls.enterClassContext(
            Cluster(cls.hosts, cls.folder, SLOTS, os.path.join(BIN, "muster")))
        cls.cluster.environment.update(PATH=surroundings.environment(BIN)["PATH"],
                                       PYTHON_EXEC=surroundings.PYTHON)

    def run_it(self, verb, *arguments):
        """Its lines, sorted, without the ranks."""
        done = self.cluster.run(verb, *arguments, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout + self.cluster.logs())
        return sorted(without_rank(line) for line in done.stdout.splitlines())

    def compiled(self, name, source):
        program = os.path.join(self.folder, name)
        subprocess.run(["mpicc", "-O1", "-o", program, os.path.join(HERE, source)], check=True)
        return program

    def test_pytorch_trains_on_sixteen_ranks(self):
        if surroundings.prepare("torch", dict(self.cluster.environment)):
            self.skipTest("skipped: needs Debian's python3-torch")
        lines = self.run_it("torchrun", f"--nnodes={HOSTS}", f"--nproc-per-node={SLOTS}",
                            os.path.join(HERE, "torch_ddp", "train.py"), "--batch-size", "4",
                            "--checkpoint", os.path.join(self.folder, "model.pt"))
        self.assertEqual(lines, sorted(
            f"rank {rank} of {RANKS}: 64 samples an epoch, checkpoint of epoch 4 is the model, "
            "ranks agree, learned" for rank in range(RANKS)))

    def test_mpi_takes_as_few_nodes_as_hold_its_ranks(self):
        ring = self.compiled("ring", "c_ring/ring.c")
        self.assertEqual(self.run_it("mpirun", "-np", str(RANKS), ring),
                         [f"the token came back with {sum(range(RANKS))}"])
        place = ["--no-python", "/bin/sh", "-c", "echo $MUSTER_NODE_RANK"]
        self.assertEqual(self.run_it("mpirun", "-np", "4", *place[1:]), ["0", "0", "1", "1"])
        self.assertEqual(self.run_it("mpirun", "-np", "4", "--map-by", "node", *place[1:]),
                         ["0", "1", "2", "3"])
        self.assertEqual(self.run_it("torchrun", "--nnodes=3", "--nproc-per-node=auto", *place),
                         ["0", "0", "1", "1", "2", "2"])

    def test_a_shape_that_no_nodes_have_is_refused_with_what_there_is(self):
        done = self.cluster.run("mpirun", "-np", str(RANKS + 1), "/bin/true")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(f"{RANKS + 1} ranks do not fit with as many on each node: there are 8 nodes "
                      "with 2, 2, 2, 2, 2, 2, 2, 2 slots", done.stderr)


if __name__ == "__main__":
    promises.main(needs_root="network namespaces")
