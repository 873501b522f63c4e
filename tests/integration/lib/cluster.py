"""A cluster over the hosts of hosts.py, as on real servers: `muster init` on the head, the coordinator
there, an agent a host with a state folder of its own and the files that init said to copy.
"""

import json
import os
import shutil
import subprocess
import time

from hosts import COOKIE

PORT = 7077


class Refused(Exception):
    """A command of muster failed; says what it said."""


class Cluster:
    def __init__(self, hosts, folder, slots, muster, users=(), addresses=True):
        """addresses: whether the cluster file names those of the nodes.  users: names, known on the head, of those who get a certificate."""
        self.hosts, self.slots, self.muster, self.users = hosts, slots, muster, users
        self.addresses = addresses
        self.root = os.path.join(folder, "state")
        self.folder = os.path.join(self.root, "head")
        self.config = os.path.join(self.root, "hosts.yaml")
        self.environment = {**os.environ, **COOKIE, "MUSTER_STATE_DIR": self.root,
                            "XDG_RUNTIME_DIR": os.path.join(folder, "run")}
        os.chmod(folder, 0o711)  # Else root's agents, which serve all users, would take /tmp.
        os.makedirs(self.environment["XDG_RUNTIME_DIR"], mode=0o711)
        self.parts = {}  # Index of the host -> its part; -1: the coordinator.

    def state(self, index):
        """The state folder of a host's agent."""
        return os.path.join(self.root, f"n{index}")

    def __enter__(self):
        os.makedirs(self.root, mode=0o711)
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"name: hosts\nlisten: {self.hosts.address(-1)}:{PORT}\n"
                       f"state_dir: {self.folder}\nnodes:\n")
            for index in range(self.hosts.count):
                address = f"address: {self.hosts.address(index)}, " if self.addresses else ""
                file.write(f"  - {{name: n{index}, {address}slots: {self.slots}}}\n")
        self.call("init", "--config", self.config,
                  *(word for user in self.users for word in ("--user", user)))
        try:
            self.start(-1)
            for index in range(self.hosts.count):
                self._copy_certificates(index)
                self.start(index)
            self.await_nodes(range(self.hosts.count))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    # ---- the parts ------------------------------------------------------------------------------

    def start(self, index):
        """Starts a host's agent, or the coordinator (-1)."""
        name = self.hosts.name(index)
        arguments = ["coordinator", "--config", self.config]
        if index >= 0:
            arguments = ["agent", "--state", self.state(index), "--node", f"n{index}",
                         "--coordinator", f"{self.hosts.address(-1)}:{PORT}",
                         "--slots", str(self.slots)]
        with open(os.path.join(self.root, name + ".log"), "ab") as log:
            self.parts[index] = self.hosts.popen(
                index, [self.muster, *arguments, "--allow-root"], stderr=log,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=self.environment)

    def await_nodes(self, indexes):
        """Until exactly these hosts are there."""
        wanted = {f"n{index}" for index in indexes}
        seen = None
        for _ in range(600):
            try:
                seen = {node["name"] for node in self.ask("nodes") if not node["lost"]}
            except Refused:
                pass
            if seen == wanted:
                return
            time.sleep(0.05)
        raise RuntimeError(f"the nodes are {seen}, not {wanted}\n" + self.logs())

    def close(self):
        """Ends what still runs, waits until the agents swept it, then ends them."""
        try:
            if len(self.parts) > self.hosts.count:
                for job in self.ask("list"):
                    self.call("cancel", "--now", str(job["job"]))
                self._await_sweep()
        finally:
            for part in self.parts.values():
                part.terminate()
            for part in self.parts.values():
                try:
                    part.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    part.kill()
                    part.wait()
            self.parts = {}

    def _await_sweep(self):
        """A job daemon writes its status once it has a job; a spare has none."""
        for _ in range(600):
            left = []
            for index in range(self.hosts.count):
                daemons = (self.state(index), "agents", f"n{index}", "daemons")
                left += [daemon for daemon in self._listed(*daemons)
                         if os.path.exists(os.path.join(*daemons, daemon, "own", "status"))]
            if not left:
                return
            time.sleep(0.05)
        raise RuntimeError(f"not swept: {left}\n" + self.logs())

    @staticmethod
    def _listed(*path):
        try:
            return os.listdir(os.path.join(*path))
        except FileNotFoundError:
            return []

    def _copy_certificates(self, index):
        os.makedirs(os.path.join(self.state(index), "ca"), mode=0o700)
        for name in ("ca.pem", f"node-n{index}.pem", f"node-n{index}.key"):
            shutil.copy(os.path.join(self.folder, "ca", name),
                        os.path.join(self.state(index), "ca", name))

    # ---- its command line -----------------------------------------------------------------------

    def command(self, verb, *arguments, user=None):
        """`muster VERB` on the head; as if `user` had logged in there, if given."""
        which = [] if verb == "init" else ["--cluster", self.folder]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env",
                  "--", "env", "--chdir=" + os.path.dirname(self.root)] if user else []
        return self.hosts.command(-1, [*become, self.muster, verb, *which, *arguments])

    def run(self, verb, *arguments, user=None, timeout=120):
        """Its end, whatever it is."""
        return subprocess.run(self.command(verb, *arguments, user=user), check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.environment, timeout=timeout,
                              encoding="utf-8", errors="replace")

    def call(self, verb, *arguments, **options):
        """What it printed; Refused if it failed."""
        done = self.run(verb, *arguments, **options)
        if done.returncode != 0:
            raise Refused(f"muster {verb} {' '.join(arguments)}: exit {done.returncode}\n"
                          + done.stderr + done.stdout)
        return done.stdout

    def ask(self, verb, *arguments, **options):
        return json.loads(self.call(verb, "--json", *arguments, **options))

    def logs(self):
        """The end of what each part said, for the report of a failure."""
        text = ""
        for index in range(-1, self.hosts.count):
            path = os.path.join(self.root, self.hosts.name(index) + ".log")
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    text += f"--- {self.hosts.name(index)}\n" + file.read()[-3000:]
        return text
