"""Agents of root that start the jobs of others: whose processes, files and logs those are.

usage: users_test.py BIN [TEST...]
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
from cluster import Cluster, Refused  # noqa: E402
from hosts import Hosts  # noqa: E402
from processes import command_of  # noqa: E402
from training import ranks_on, until  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
HOSTS, SLOTS = 2, 2
USERS = {"alice": 20001, "bob": 20002, "carol": 20003}  # Carol gets no certificate.
EXTRA = 20777  # A group of alice's.


def status_of(pid):
    """{"Uid": "1 1 1 1", ...} of /proc/PID/status."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return {key: " ".join(value.split())
                    for key, _, value in (line.partition(":") for line in file)}
    except OSError:
        return {}


class Users(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="muster-users-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        os.chmod(cls.folder, 0o755)
        # Where they may look: BIN may lie below a home of root's.
        cls.hosts = cls.enterClassContext(Hosts(HOSTS, binds=cls.make_accounts() + [(BIN, "/mnt")]))
        cls.cluster = cls.enterClassContext(
            Cluster(cls.hosts, cls.folder, SLOTS, "/mnt/muster", users=("alice", "bob")))

    @classmethod
    def make_accounts(cls):
        passwd, group = os.path.join(cls.folder, "passwd"), os.path.join(cls.folder, "group")
        shutil.copy("/etc/passwd", passwd)
        shutil.copy("/etc/group", group)
        with open(passwd, "a", encoding="ascii") as users, open(group, "a", encoding="ascii") as groups:
            for name, uid in USERS.items():
                home = os.path.join(cls.folder, name)
                os.mkdir(home, mode=0o700)
                os.chown(home, uid, uid)
                users.write(f"{name}:x:{uid}:{uid}::{home}:/bin/sh\n")
                groups.write(f"{name}:x:{uid}:\n")
            groups.write(f"muster-test:x:{EXTRA}:alice\n")
        return [(passwd, "/etc/passwd"), (group, "/etc/group")]

    def sh(self, user, script, *options):
        """`muster run` of a shell script in the user's home, one rank on each host."""
        workdir = os.path.join(self.folder, user)
        return self.cluster.run("run", "-N", "2", "--ranks-per-node", "1", *options, "--", "/bin/sh",
                                "-c", f"cd {workdir}; {script}", user=user)

    def last_job(self):
        return max(job["job"] for job in self.cluster.ask("list", "--all"))

    # ---- the promises ---------------------------------------------------------------------------

    def test_a_job_runs_as_its_user_with_all_groups(self):
        ran = self.sh("alice", "echo $(id -u) $(id -g) $(id -G) $HOME; touch by-$RANK; umask")
        self.assertEqual(ran.returncode, 0, ran.stderr + self.cluster.logs())
        home = os.path.join(self.folder, "alice")
        uid = USERS["alice"]
        for rank in range(2):
            self.assertIn(f"[{rank}] {uid} {uid} {uid} {EXTRA} {home}\n", ran.stdout)
            self.assertEqual(os.stat(os.path.join(home, f"by-{rank}")).st_uid, uid)

    def test_mpi_starts_as_a_user(self):
        ran = self.cluster.run("run", "-N", "2", "--ranks-per-node", "2", "--", "/mnt/c_mpi_hello",
                               user="alice")
        self.assertEqual(ran.returncode, 0, ran.stderr + self.cluster.logs())
        self.assertEqual(ran.stdout.count(" of 4, "), 4, ran.stdout)

    def test_every_process_and_file_of_a_job_is_the_users(self):
        started = self.cluster.ask("run", "--detach", "-N", "2", "--ranks-per-node", "1", "--",
                                   "/bin/sh", "-c", "echo here; exec sleep 1000", user="alice")
        job, uid = started["job"], USERS["alice"]
        until(lambda: self.cluster.call("logs", str(job), user="alice").count("here") == 2, "output")
        for index in range(HOSTS):
            ranks = ranks_on(self.hosts, index, job)
            self.assertEqual(len(ranks), 1)
            daemon = int(status_of(ranks[index])["PPid"])
            family = [daemon, *(pid for pid in self.hosts.processes(index)
                                if status_of(pid).get("PPid") == str(daemon))]
            self.assertGreaterEqual(len(family), 3)  # And a PMIx helper.
            self.assertEqual({os.getpriority(os.PRIO_PROCESS, pid) for pid in family[1:]}, {0})
            self.assertEqual(os.getpriority(os.PRIO_PROCESS, daemon), -10)
            for pid in family:
                status = status_of(pid)
                self.assertEqual(status["Uid"], " ".join([str(uid)] * 4))
                self.assertEqual(status["Gid"], " ".join([str(uid)] * 4))
                self.assertEqual(set(status["Groups"].split()), {str(uid), str(EXTRA)})
                self.assertEqual(int(status["CapEff"], 16), 0)
            self.assert_owned(os.path.join(self.cluster.state(index), "logs", str(job)), uid)
        # What the next life of a killed agent finds, it takes up again.
        for index in range(HOSTS):
            self.kill_agent(index)
        self.assertEqual(self.cluster.call("cancel", "--now", str(job), user="alice"), "")
        self.assertEqual(self.cluster.run("wait", str(job), user="alice").returncode, 143)
        self.assertEqual(self.cluster.call("logs", str(job), user="alice").count("here"), 2)

    def kill_agent(self, index):
        agents = [pid for pid in self.hosts.processes(index)
                  if command_of(pid)[1:2] == ["agent"]]
        self.assertEqual(len(agents), 1)
        os.kill(agents[0], signal.SIGKILL)
        self.cluster.parts[index].wait()
        self.cluster.start(index)
        self.cluster.await_nodes(range(HOSTS))

    def assert_owned(self, folder, uid):
        seen = 0
        for path, folders, files in os.walk(folder):
            for name in [".", *folders, *files]:
                status = os.lstat(os.path.join(path, name))
                self.assertEqual(status.st_uid, uid, os.path.join(path, name))
                self.assertEqual(status.st_mode & 0o077, 0, os.path.join(path, name))
            seen += len(files)
        self.assertGreater(seen, 0)

    def test_nobody_touches_the_job_of_another(self):
        self.assertEqual(self.sh("alice", "echo secret").returncode, 0)
        job = str(self.last_job())
        self.assertIn("secret", self.cluster.call("logs", job, user="alice"))
        self.assertIn("secret", self.cluster.call("logs", job))  # The operator.
        for verb in ("logs", "cancel"):
            refused = self.cluster.run(verb, job, user="bob")
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertNotIn("secret", refused.stdout)
            self.assertIn("bob (20002)", refused.stderr)

    def test_a_link_in_the_logs_leads_nowhere(self):
        """The agent reads logs as root, and their folder is the user's."""
        secret = os.path.join(self.folder, "bob", "0.out")
        with open(secret, "w", encoding="ascii") as file:
            file.write("of bob\n")
        os.chmod(secret, 0o600)
        self.assertEqual(self.sh("alice", "echo mine").returncode, 0)
        job = self.last_job()
        for index in range(HOSTS):
            logs = os.path.join(self.cluster.state(index), "logs", str(job))
            shutil.rmtree(os.path.join(logs, "0"))
            os.symlink(os.path.join(self.folder, "bob"), os.path.join(logs, "0"))
        self.assertNotIn("of bob", self.cluster.call("logs", str(job), user="alice"))

    def test_who_has_no_certificate_is_told_whom_to_ask(self):
        refused = self.sh("carol", "true")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("no certificate for uid 20003", refused.stderr)
        self.assertIn("muster init --user", refused.stderr)

    def test_a_place_that_the_user_cannot_enter_is_named(self):
        """The home of bob: neither to work in, nor to run a program of."""
        theirs = os.path.join(self.folder, "bob")
        shutil.copy("/bin/true", theirs)
        job = os.path.join(self.folder, "job.yaml")
        for text, words, exit_code in (
                (f"command: [/bin/true]\nworkdir: {theirs}\n",
                 f"the working directory '{theirs}' cannot be entered: Permission denied", 71),
                (f"command: [{theirs}/true]\nworkdir: /\n",
                 f"'{theirs}/true' on node n0 cannot be run: a folder on the way", 126)):
            with open(job, "w", encoding="ascii") as file:
                file.write(text + "restart: {max: 0}\n")
            number = self.cluster.call("submit", job, user="alice").strip()
            ended = self.cluster.run("wait", number, user="alice")
            self.assertEqual(ended.returncode, exit_code, ended.stderr)
            self.assertIn(words, ended.stderr)

    def test_an_unknown_user_gets_none(self):
        with self.assertRaisesRegex(Refused, "exit 2\nmuster: this host knows no user 'nemo'"):
            self.cluster.call("init", "--config", self.cluster.config, "--user", "nemo")

    def test_a_state_folder_that_keeps_users_out_is_named(self):
        def traces():
            """Of job daemons that are no spare."""
            folder = os.path.join(self.cluster.state(0), "agents", "n0", "daemons")
            shm = self.hosts.run(0, ["ls", "/dev/shm"], check=True, stdout=subprocess.PIPE).stdout
            return len(os.listdir(folder)), shm.count(b"muster-")
        state = self.cluster.state(0)
        os.chmod(state, 0o700)
        try:
            for _ in range(3):
                ran = self.sh("alice", "true")
            until(lambda: max(traces()) <= 1, "what could not start is swept")
        finally:
            os.chmod(state, 0o711)
        self.assertEqual(ran.returncode, 71, ran.stderr)
        self.assertIn(f"uid 20001 cannot enter {state} (mode 0700)", ran.stderr)
        self.assertIn("--state", ran.stderr)
        self.assertEqual(self.sh("alice", "true").returncode, 0)


if __name__ == "__main__":
    promises.main(needs_root="users, network namespaces")
