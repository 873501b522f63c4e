"""The machine as the storm sees it: which process is which part of a cluster, kill -9 by pidfd, and
what is left behind."""

import os
import select
import signal
import subprocess
import time

from processes import command_of, environment_of, pids, read, stat_of

CLUSTER_COOKIE, JOB_COOKIE = "MUSTER_CLUSTER_COOKIE", "MUSTER_JOB_COOKIE"


def job_of_daemon(status):
    """A job daemon starts as a spare; its log, in the folder above its status, names the job that it
    was given.  0: none yet."""
    log = read(os.path.join(os.path.dirname(os.path.dirname(status)), "jobd.log"))
    number = log.rpartition(b" job=")[2].split()[:1]
    return int(number[0]) if number and number[0].isdigit() else 0


class Process:
    """One process of a cluster: what it is (coordinator, agent, rank, ...), and whose."""

    def __init__(self, pid, parent, arguments, environment):
        self.pid, self.parent = pid, parent
        own = arguments[:1] == ["muster"]
        if "MUSTER_RANK_PID" in environment:
            self.part = "exec"
        elif "MUSTER_RANK" in environment:
            self.part = "rank"
        else:
            self.part = arguments[1] if own else "other"
        option = dict(zip(arguments, arguments[1:]))
        self.node = option.get("--node")
        self.job = int(environment.get("MUSTER_JOB_ID", 0))
        if self.part == "jobd":
            self.job = job_of_daemon(option.get("--status", ""))
        self.rank = int(environment.get("MUSTER_RANK", -1))


def processes_of(cookie):
    """The processes that carry a cluster's cookie, by pid.  A child that has not yet become its own
    program looks like its parent, and is left out."""
    found = {}
    for pid in pids():
        environment, stat, arguments = environment_of(pid), stat_of(pid), command_of(pid)
        if environment.get(CLUSTER_COOKIE) != cookie or not stat or stat[0] in "ZX":
            continue
        if len(arguments) > 1:
            found[pid] = Process(pid, stat[1], arguments, environment)
    for process in list(found.values()):
        parent = found.get(process.parent)
        if parent and parent.part == process.part:
            del found[process.pid]
        elif process.part in ("rank", "mover", "pmix", "exec") and parent:
            process.job, process.node = parent.job, parent.node
    return found


class Victim:
    """A process held by pidfd, so that nobody else can be hit."""

    def __init__(self, process):
        self.process = process
        try:
            self.fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.fd >= 0:
            os.close(self.fd)

    def kill(self):
        """False if it was dead already: then nothing was killed."""
        stat = stat_of(self.process.pid)
        if self.fd < 0 or not stat or stat[0] in "ZX" or select.select([self.fd], [], [], 0)[0]:
            return False
        try:
            signal.pidfd_send_signal(self.fd, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return bool(select.select([self.fd], [], [], 60)[0])


class Leftovers:
    """What there was when the storm began; `left()` tells what there is more (traces.h)."""

    def __init__(self, program, mark, run_folder, shared):
        """shared: others use this machine, so that only what names a cluster of ours counts."""
        self.program, self.mark, self.run_folder, self.shared = program, mark, run_folder, shared
        self.cookies = set()
        self.before = self._look()

    def _look(self):
        done = subprocess.run([self.program, self.mark], check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE)
        return set(done.stdout.decode(errors="replace").splitlines())

    def _is_ours(self, line):
        if not self.shared:
            return True
        words = line.replace(":", " ").split()
        owner = ""
        if "process" in words:
            environment = environment_of(words[words.index("process") + 1])
            owner = environment.get(CLUSTER_COOKIE, environment.get(JOB_COOKIE, ""))
        return any(cookie in line or owner.startswith(cookie) for cookie in self.cookies)

    def left(self):
        found = sorted(line for line in self._look() - self.before if self._is_ours(line))
        return found + [f"file {self.run_folder}/{name}" for name in os.listdir(self.run_folder)]

    def await_none(self, patience):
        """What is left when the patience is over; nothing tells when a file goes away."""
        deadline = time.monotonic() + patience
        while True:
            found = self.left()
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)
