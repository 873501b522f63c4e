"""What runs beside the training jobs of a storm: a job whose ranks leave behind what they can, and
programs that somebody runs beside a rank."""

import json
import os
import sys
import time

from cluster_up import Failed
from processes import environment_of, read, stat_of

HERE = os.path.dirname(os.path.abspath(__file__))
FREE_AFTER = 3  # Seconds, by which all that a job had is gone.


def is_alive(pid, cookie):
    """Of this cluster: a pid may have been given to somebody else."""
    stat = stat_of(pid)
    return bool(stat) and stat[0] not in "ZX" and \
        environment_of(pid).get("MUSTER_CLUSTER_COOKIE") == cookie


def await_free(what, still_there):
    """No longer than FREE_AFTER; nothing tells when another's process ends."""
    deadline = time.monotonic() + FREE_AFTER
    while True:
        found = still_there()
        if not found:
            return
        if time.monotonic() > deadline:
            raise Failed(f"{FREE_AFTER} s after the end of {what} there is still: {found}")
        time.sleep(0.01)


class UnrulyJob:
    def __init__(self, storm):
        storm.unruly_made += 1
        self.name, self.cluster = f"unruly-{storm.unruly_made}", storm.cluster
        self.record = storm.path(self.name + ".pids")
        nodes, seconds = storm.random.choice([1, 2]), storm.random.choice([1, 4, 30])
        command = [sys.executable, os.path.join(HERE, "unruly_rank.py"), self.record, str(seconds)]
        file = storm.write(
            self.name + ".yaml",
            f"name: {self.name}\nnodes: {nodes}\nranks_per_node: 1\ncommand: {json.dumps(command)}\n"
            f"workdir: {storm.folder}\ngrace: 300ms\nrestart: {{max: 1000}}\n")
        self.id = int(self.cluster.call("submit", file).split()[0])
        self.waiter = self.cluster.start("wait", "--json", str(self.id))

    def over(self):
        return self.waiter.poll() is not None

    def daemons(self):
        """[(pid, port, inode of its socket)] of what its ranks left behind, in all attempts."""
        try:
            with open(self.record, encoding="ascii") as file:
                return [tuple(map(int, line.split())) for line in file.read().split("\n")[:-1]]
        except FileNotFoundError:
            return []

    def cancel(self):
        self.cluster.call("cancel", str(self.id))

    def check_gone(self):
        self.waiter.communicate()

        def still_there():
            taken = listening_inodes()
            found = [f"process {pid}" for pid, _, _ in self.daemons()
                     if is_alive(pid, self.cluster.cookie)]
            return found + [f"port {port}" for _, port, inode in self.daemons() if inode in taken]
        await_free(self.name, still_there)
        return len(self.daemons())


def listening_inodes():
    """Of all TCP sockets that listen: a port itself may be somebody else's by now."""
    rows = [row.split() for row in read("/proc/net/tcp").decode().splitlines()[1:]]
    return {int(row[9]) for row in rows if row[3] == "0A"}


class Guest:
    """`muster exec` beside rank 0 of a job, until it is ended."""

    def __init__(self, cluster, job, insist=False):
        """insist: it is asked for again while the job has not begun."""
        self.cluster, self.job = cluster, job
        self.pid = 0
        self.begin()
        while insist and not self.pid and not job.over():
            self.process.communicate()
            self.begin()

    def begin(self):
        self.process = self.cluster.start("exec", str(self.job.id), "--", "sh", "-c",
                                          "echo $$; while :; do sleep 1; done")
        line = self.process.stdout.readline()  # Empty: the job was not running.
        self.pid = int(line) if line.strip() else 0

    def end(self):
        """Whatever was killed meanwhile: with whoever asked, the program ends."""
        self.process.kill()
        self.process.communicate()
        if self.pid:
            await_free(f"exec beside job {self.job.id}",
                       lambda: [f"process {self.pid}"] if is_alive(self.pid, self.cluster.cookie)
                       else [])
