"""An embedded cluster that is driven by its command line alone."""

import json
import os
import subprocess

from machine import processes_of

NODES, SLOTS = 2, 4
PATIENCE = 120  # For what takes a second or two when all is quiet.


class Failed(Exception):
    """muster broke a promise."""


class Cluster:
    def __init__(self, binary, name, environment):
        self.binary, self.name, self.environment = binary, name, environment
        done = self._call("up", "--json", "--nodes", str(NODES), "--slots", str(SLOTS), "--name",
                          name)
        described = json.loads(done)
        self.state, self.keeper = described["state_dir"], described["keeper_pid"]
        self.cookie = os.path.basename(described["runtime_dir"].rstrip("/"))

    def _call(self, verb, *arguments):
        try:
            done = subprocess.run([self.binary, verb, *arguments], env=self.environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise Failed(f"muster {verb} {' '.join(arguments)}: no end after {PATIENCE} s") from None
        if done.returncode != 0:
            raise Failed(f"muster {verb} {' '.join(arguments)}: exit {done.returncode}: "
                         + done.stderr.decode(errors="replace"))
        return done.stdout.decode(errors="replace")

    def call(self, verb, *arguments):
        return self._call(verb, "--cluster", self.state, *arguments)

    def ask(self, verb, *arguments):
        return json.loads(self.call(verb, "--json", *arguments))

    def start(self, verb, *arguments):
        return subprocess.Popen([self.binary, verb, "--cluster", self.state, *arguments],
                                env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def processes(self):
        return processes_of(self.cookie)

    def down(self):
        self._call("down", "--name", self.name)
