"""What differs from host to host, and what an agent finds when it comes back.

usage: faults_test.py BIN [TEST...]
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402
from cluster import Cluster  # noqa: E402
from hosts import Hosts  # noqa: E402
from processes import command_of, environment_of  # noqa: E402
from training import ranks_on, until  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
HOSTS, SLOTS = 2, 2


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="muster-faults-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.hosts = cls.enterClassContext(Hosts(HOSTS))
        cls.cluster = cls.enterClassContext(
            Cluster(cls.hosts, cls.folder, SLOTS, os.path.join(BIN, "muster")))
        cls.share = os.path.join(cls.folder, "share")  # A folder that the hosts see differently.
        os.mkdir(cls.share)

    def mount(self, index, names):
        """Makes the share of a host one of its own, with these files ({name: mode})."""
        self.hosts.run(index, ["mount", "-t", "tmpfs", "-o", "mode=755", "share", self.share], check=True)
        self.addCleanup(self.hosts.run, index, ["umount", self.share], check=True)
        for name, mode in names.items():
            self.hosts.run(index, ["install", "-m", mode, "/bin/true",
                                   os.path.join(self.share, name)], check=True)

    def run_there(self, name, *options):
        return self.cluster.run("run", "-N", "2", "--ranks-per-node", "1", *options, "--",
                                os.path.join(self.share, name))

    def pids(self, index, verb):
        """Of a part of muster on one host."""
        return [pid for pid in self.hosts.processes(index) if command_of(pid)[1:2] == [verb]]

    # ---- programs -------------------------------------------------------------------------------

    def test_a_program_that_is_missing_on_one_host(self):
        self.mount(0, {"program": "755"})
        self.mount(1, {})
        ran = self.run_there("program", "--max-restarts", "3")
        self.assertEqual(ran.returncode, 127, ran.stderr)
        self.assertIn(f"program '{self.share}/program' was not found on node n1; it must be there "
                      "under the same name on every node", ran.stderr)
        self.assertNotIn("n0", ran.stderr)

    def test_a_program_that_cannot_be_executed_on_one_host(self):
        self.mount(0, {"program": "644"})
        self.mount(1, {"program": "755"})
        ran = self.run_there("program", "--max-restarts", "3")
        self.assertEqual(ran.returncode, 126, ran.stderr)
        self.assertIn(f"'{self.share}/program' on node n0 cannot be run: it has no execute "
                      "permission", ran.stderr)
        self.assertNotIn("n1", ran.stderr)

    def test_a_program_that_is_everywhere(self):
        """So that the two above fail for what they say."""
        for index in range(HOSTS):
            self.mount(index, {"program": "755"})
        self.assertEqual(self.run_there("program").returncode, 0)

    def test_a_working_directory_that_is_missing_on_one_host(self):
        job = os.path.join(self.folder, "job.yaml")
        with open(job, "w", encoding="ascii") as file:
            file.write(f"command: [/bin/true]\nnodes: 2\nranks_per_node: 1\n"
                       f"workdir: {self.share}/deep\nrestart: {{max: 0}}\n")
        self.mount(1, {})
        self.hosts.run(0, ["mkdir", "-p", os.path.join(self.share, "deep")], check=True)
        number = self.cluster.call("submit", job).strip()
        ended = self.cluster.run("wait", number)
        self.assertEqual(ended.returncode, 71, ended.stderr)
        self.assertIn(f"node n1: the working directory '{self.share}/deep' cannot be entered: No "
                      "such file or directory; it must exist on every node", ended.stderr)

    # ---- nodes that are lost ---------------------------------------------------------------------

    def test_an_elastic_job_goes_on_with_the_nodes_that_are_left(self):
        job = self.cluster.ask(
            "run", "--detach", "-N", "1:4", "--ranks-per-node", "1", "--max-restarts", "1", "--",
            "/bin/sh", "-c",
            "echo $WORLD_SIZE in $MUSTER_ATTEMPT; [ $MUSTER_ATTEMPT = 1 ] || exec sleep 4711")["job"]
        until(lambda: self.cluster.call("logs", str(job)).count("2 in 0") == 2, "both ranks")
        self.hosts.link(1, "down")
        self.addCleanup(self.cluster.await_nodes, range(HOSTS))
        self.addCleanup(self.hosts.link, 1, "up")
        ended = self.cluster.run("wait", str(job))
        self.assertEqual(ended.returncode, 0, ended.stderr + self.cluster.logs())
        self.assertEqual(self.cluster.ask("show", str(job))["restarts"], 1)
        self.assertEqual(self.cluster.call("logs", "--attempt", "1", str(job)), "1 in 1\n")

    # ---- agents that come back ------------------------------------------------------------------

    ORPHAN = "setsid sleep 4711 & echo ready; exec sleep 4711"

    def start_with_orphans(self):
        """A job whose ranks start others apart from themselves: those outlive the job daemon."""
        job = self.cluster.ask("run", "--detach", "-N", "2", "--ranks-per-node", "1",
                               "--max-restarts", "1", "--", "/bin/sh", "-c", self.ORPHAN)["job"]
        until(lambda: self.cluster.call("logs", str(job)).count("ready") == 2, "both ranks")
        return job

    def of_attempt(self, index, job, attempt):
        """The processes of an attempt on a host, the ranks and what they started."""
        return [pid for pid in self.hosts.processes(index)
                if environment_of(pid).get("MUSTER_JOB_ID") == str(job)
                and environment_of(pid).get("MUSTER_ATTEMPT") == str(attempt)]

    def kill_agent_and_daemon(self, index):
        agent = self.cluster.parts[index]
        for pid in [*self.pids(index, "agent"), *self.pids(index, "jobd")]:
            os.kill(pid, signal.SIGKILL)
        agent.wait(timeout=20)
        until(lambda: not self.pids(index, "jobd"), "the end of the job daemon")

    def await_orphan(self, job):
        """The rank dies with its parent, a moment later; what it started does not."""
        until(lambda: len(self.of_attempt(1, job, 0)) < 2, "the end of the rank")
        orphans = self.of_attempt(1, job, 0)
        self.assertEqual(len(orphans), 1)
        return orphans

    def test_orphans_of_a_dead_job_daemon_end_before_the_next_attempt(self):
        job = self.start_with_orphans()
        self.kill_agent_and_daemon(1)
        until(lambda: not ranks_on(self.hosts, 0, job), "the end of the other host's rank")
        self.await_orphan(job)
        self.cluster.start(1)
        until(lambda: len(self.of_attempt(1, job, 1)) == 2, lambda: self.cluster.call("why", str(job)))
        self.assertEqual(self.of_attempt(1, job, 0), [])
        self.assertEqual(self.cluster.ask("show", str(job))["restarts"], 1)
        self.cluster.call("cancel", "--now", str(job))
        self.assertEqual(self.cluster.run("wait", str(job)).returncode, 143)

    def test_orphans_without_a_record_end_when_the_agent_begins(self):
        job = self.start_with_orphans()
        self.kill_agent_and_daemon(1)
        shutil.rmtree(os.path.join(self.cluster.state(1), "agents", "n1", "daemons"))
        orphans = self.await_orphan(job)
        group = "muster-" + environment_of(orphans[0])["MUSTER_JOB_COOKIE"]
        self.cluster.start(1)
        self.cluster.await_nodes(range(HOSTS))
        # It registers only when they are gone, and what held them.
        self.assertEqual(self.of_attempt(1, job, 0), [])
        groups = subprocess.run(["find", "/sys/fs/cgroup", "-name", f"{group}*"], check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        self.assertEqual(groups, b"")
        self.cluster.call("cancel", "--now", str(job))
        self.assertEqual(self.cluster.run("wait", str(job)).returncode, 143)

    def test_a_coordinator_that_comes_back_finds_the_job_as_it_was(self):
        job = self.start_with_orphans()
        before = [sorted(self.of_attempt(index, job, 0)) for index in range(HOSTS)]
        self.cluster.parts[-1].terminate()  # nsenter became it.
        self.cluster.parts[-1].wait(timeout=20)
        self.cluster.start(-1)
        self.cluster.await_nodes(range(HOSTS))
        self.assertEqual(self.cluster.ask("show", str(job))["state"], "running")
        self.assertEqual([sorted(self.of_attempt(index, job, 0)) for index in range(HOSTS)], before)
        self.cluster.call("cancel", "--now", str(job))
        self.assertEqual(self.cluster.run("wait", str(job)).returncode, 143)


if __name__ == "__main__":
    promises.main(needs_root="network namespaces")
