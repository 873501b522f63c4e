"""A cluster over the hosts of hosts.py, as on real servers: the coordinator on the head, an agent a
host, each reached by its own address.

The hosts share this machine's files, so one state folder serves all parts.
"""

import json
import os
import subprocess
import time

from hosts import COOKIE

PORT = 7077


class Cluster:
    def __init__(self, hosts, folder, slots, muster):
        self.hosts, self.slots, self.muster = hosts, slots, muster
        self.root = os.path.join(folder, "state")
        self.environment = {**os.environ, **COOKIE, "MUSTER_STATE_DIR": self.root,
                            "XDG_RUNTIME_DIR": os.path.join(folder, "run")}
        os.makedirs(self.environment["XDG_RUNTIME_DIR"], mode=0o700)
        self.parts = []

    def __enter__(self):
        self.folder = os.path.join(self.root, "hosts")
        config = os.path.join(self.root, "hosts.yaml")
        os.makedirs(self.root, mode=0o700)
        with open(config, "w", encoding="ascii") as file:
            file.write(f"name: hosts\nlisten: {self.hosts.address(-1)}:{PORT}\nnodes:\n")
            for index in range(self.hosts.count):
                file.write(f"  - {{name: n{index}, address: {self.hosts.address(index)}, "
                           f"slots: {self.slots}}}\n")
        self._run(["init", "--config", config])
        try:
            self._start(-1, ["coordinator", "--config", config, "--state", self.folder,
                             "--allow-root"])
            for index in range(self.hosts.count):
                self._start(index, ["agent", "--state", self.folder, "--node", f"n{index}",
                                    "--coordinator", f"{self.hosts.address(-1)}:{PORT}",
                                    "--slots", str(self.slots), "--allow-root"])
            self._await_nodes()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        for part in reversed(self.parts):
            part.terminate()
        for part in self.parts:
            part.wait(timeout=30)
        self.parts = []

    def _run(self, arguments):
        return self.hosts.run(-1, [self.muster, *arguments], check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, env=self.environment).stdout

    def _start(self, index, arguments):
        log = open(os.path.join(self.folder, f"{self.hosts.name(index)}.log"), "wb")
        self.parts.append(self.hosts.popen(index, [self.muster, *arguments], stderr=log,
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                           env=self.environment))

    def _await_nodes(self):
        for _ in range(200):
            seen = self.hosts.run(-1, [self.muster, "nodes", "--json", "--cluster", self.folder],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, env=self.environment, check=False)
            if seen.returncode == 0 and not any(n["lost"] for n in json.loads(seen.stdout)):
                return
            time.sleep(0.05)
        raise RuntimeError("the cluster did not come up; its logs are in " + self.folder)
