"""byte_gpt over several hosts: the same bits as alone, over their network, whatever is cut off.

usage: train_test.py BIN [TEST...]
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402
from cluster import PORT, Cluster  # noqa: E402
from hosts import Hosts  # noqa: E402
from training import PARAMETER_BYTES, Steps, alone, hash_in, kill, ranks_on, until  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
HOSTS, SLOTS = 4, 8
STEPS = 11


class Train(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="muster-hosts-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.program = os.path.join(BIN, "byte_gpt")
        cls.hosts = cls.enterClassContext(Hosts(HOSTS))
        cls.cluster = cls.enterClassContext(
            Cluster(cls.hosts, cls.folder, SLOTS, os.path.join(BIN, "muster")))
        cls.hashes = {}

    def setUp(self):
        self.steps = Steps(os.path.join(self.folder, self.id() + ".steps"))
        self.before = [self.hosts.traffic(index) for index in range(HOSTS)]

    # ---- what the tests say ---------------------------------------------------------------------

    def submit(self, nodes, ranks, *options, steps=STEPS):
        """Starts byte_gpt and returns the job's number."""
        started = self.cluster.ask(
            "run", "--detach", "-N", str(nodes), "--ranks-per-node", str(ranks), *options, "--",
            self.program, "--steps", str(steps), "--step-log", self.steps.path, "--hash")
        return started["job"]

    def assert_same_bits(self, job, steps=STEPS):
        """It ends well, its loss fell, and its hash is that of a run alone."""
        ended = self.cluster.run("wait", "--json", str(job))
        # Of a host that is cut off the rest is missing; rank 0's is what counts.
        attempt = str(self.cluster.ask("show", str(job))["attempt"])
        output = self.cluster.call("logs", "--attempt", attempt, str(job))
        self.assertEqual(ended.returncode, 0, ended.stdout + output + self.cluster.logs())
        if steps not in self.hashes:
            self.hashes[steps] = alone(self.program, steps)
        self.assertEqual(hash_in(output), self.hashes[steps])
        losses = {step: loss for _, step, loss in self.steps.lines()}
        self.assertEqual(sorted(losses), list(range(1, steps + 1)))
        self.assertLess(losses[steps], losses[1])

    def assert_crossed(self, index, least):
        """So many bytes left the host, and so many came, since the test began."""
        for before, now in zip(self.before[index], self.hosts.traffic(index)):
            self.assertGreaterEqual(now - before, least)

    def members(self, job):
        return [int(member["node"][1:]) for member in self.cluster.ask("show", str(job))["members"]]

    def why(self, job):
        return self.cluster.call("why", str(job))

    def stops(self, job):
        """Why its attempts were stopped; of a job that ended."""
        return [line for line in self.cluster.call("events", str(job)).splitlines()
                if ": stops: " in line]

    # ---- the promises ---------------------------------------------------------------------------

    def test_no_host_reaches_another_by_its_loopback(self):
        """The coordinator listens on the head; from there and from a host only its address leads to
        it, and every host has another name and boot id."""
        connect = ("import socket, sys\n"
                   "socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)\n")
        for index in range(HOSTS):
            for address, reached in ((self.hosts.address(-1), True), ("127.0.0.1", False)):
                done = self.hosts.run(index, [sys.executable, "-c", connect, address, str(PORT)],
                                      check=False, stderr=subprocess.PIPE)
                self.assertEqual(done.returncode == 0, reached, done.stderr)
        nodes = self.cluster.ask("nodes")
        self.assertEqual([node["addresses"] for node in nodes],
                         [[self.hosts.address(index)] for index in range(HOSTS)])
        self.assertEqual(len({node["boot_id"] for node in nodes}), HOSTS)
        names = {self.hosts.run(index, ["hostname"], stdout=subprocess.PIPE).stdout
                 for index in range(HOSTS)}
        self.assertEqual(len(names | {socket.gethostname().encode() + b"\n"}), HOSTS + 1)

    def test_two_hosts_of_eight_ranks_end_in_the_bits_of_one(self):
        job = self.submit(2, 8)
        self.assert_same_bits(job)
        for index in self.members(job):
            self.assert_crossed(index, STEPS * PARAMETER_BYTES)

    def test_four_hosts_of_one_rank_end_in_the_bits_of_one(self):
        job = self.submit(4, 1)
        self.assert_same_bits(job)
        self.assertEqual(sorted(self.members(job)), [0, 1, 2, 3])
        for index in range(HOSTS):
            # One of four ranks has the least to say: a quarter of the sum, and hears the others'.
            self.assert_crossed(index, STEPS * PARAMETER_BYTES // 4)

    def test_a_killed_rank_costs_a_restart_and_no_bit(self):
        seed = random.SystemRandom().randrange(10000)
        chance = random.Random(seed)
        print(f"seed {seed}")
        job = self.submit(2, 8, "--max-restarts", "1")
        until(lambda: self.steps.reached(3), "step 3")
        rank = chance.randrange(16)
        victim = self.members(job)[rank // 8]
        kill(self.hosts, victim, job, rank)
        self.assert_same_bits(job)
        self.assertEqual(self.cluster.ask("show", str(job))["restarts"], 1)
        # What a rank says that noticed first gives way to what explains it.
        self.assertEqual(self.stops(job)[-1].split(" (")[0],
                         f"attempt 0: stops: rank {rank} on n{victim} was killed by SIGKILL")
        attempts = [attempt for attempt, _, _ in self.steps.lines()]
        self.assertEqual(sorted(set(attempts)), [0, 1])

    def test_a_host_that_is_cut_off_is_fenced_and_a_spare_takes_over(self):
        job = self.submit(2, 2, "--max-restarts", "1", steps=30)
        until(lambda: self.steps.reached(2), "step 2")
        members = self.members(job)
        victim = members[1]
        self.assertEqual(len(ranks_on(self.hosts, victim, job)), 2)
        self.hosts.link(victim, "down")
        try:
            # Nobody can tell it anything any more.
            until(lambda: not ranks_on(self.hosts, victim, job), "no rank on the host cut off")
            until(lambda: self.members(job) != members and self.steps.lines()[-1][0] == 1,
                  lambda: "another attempt: " + self.why(job))
            self.assertNotIn(victim, self.members(job))
            self.assert_same_bits(job, steps=30)
            logs = self.cluster.run("logs", str(job))
            self.assertIn(f"node n{victim} is lost; what it holds of these logs", logs.stderr)
            self.assertEqual(logs.returncode, 1)
        finally:
            self.hosts.link(victim, "up")
        self.cluster.await_nodes(range(HOSTS))
        self.assertTrue(self.stops(job)[0].startswith(f"attempt 0: stops: n{victim}: "),
                        self.stops(job))

    def test_a_host_that_is_cut_off_and_needed_is_waited_for(self):
        job = self.submit(4, 1, "--max-restarts", "1", steps=30)
        until(lambda: self.steps.reached(2), "step 2")
        self.hosts.link(2, "down")
        try:
            until(lambda: "waits for slots" in self.why(job), lambda: "waiting: " + self.why(job))
            for index in range(HOSTS):
                self.assertEqual(ranks_on(self.hosts, index, job), {})
            why = self.why(job)
            self.assertIn("attempt 0 failed: n2: ", why)
            self.assertIn("n2: is lost", why)
        finally:
            self.hosts.link(2, "up")
        self.assert_same_bits(job, steps=30)
        self.assertEqual(self.cluster.ask("show", str(job))["restarts"], 1)


if __name__ == "__main__":
    promises.main(needs_root="network namespaces")
