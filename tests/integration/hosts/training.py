"""What the tests over several hosts know about byte_gpt and its ranks."""

import os
import re
import signal
import subprocess
import time

from processes import environment_of

PATIENCE = 60  # Seconds, for what takes a few at most.
PARAMETER_BYTES = 4 * 834304


def until(seen, what, patience=PATIENCE):
    """The first true answer of `seen`; nothing tells when it comes, so it is asked again and again."""
    deadline = time.monotonic() + patience
    while True:
        answer = seen()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not seen in {patience} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def hash_in(output):
    found = re.findall(r"parameters sha256 ([0-9a-f]{64})", output)
    if len(found) != 1:
        raise AssertionError("one hash was expected in:\n" + output[-3000:])
    return found[0]


def alone(program, steps):
    """The hash of a run of one rank, without muster."""
    done = subprocess.run([program, "--steps", str(steps), "--hash"], check=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return hash_in(done.stdout.decode())


class Steps:
    """A step log: one line a completed step (byte_gpt --step-log)."""

    def __init__(self, path):
        self.path = path

    def lines(self):
        """(attempt, step, loss) of each whole line."""
        if not os.path.exists(self.path):
            return []
        with open(self.path, encoding="ascii") as file:
            whole = file.read().rpartition("\n")[0]
        words = [line.split() for line in whole.splitlines()]
        return [(int(word[0]), int(word[1]), float(word[3])) for word in words]

    def reached(self, step):
        return [line for line in self.lines() if line[1] >= step]


def ranks_on(hosts, index, job):
    """{rank: pid} of a job's living ranks on one host."""
    ranks = {}
    for pid in hosts.processes(index):
        environment = environment_of(pid)
        if environment.get("MUSTER_JOB_ID") == str(job) and "MUSTER_RANK" in environment:
            ranks[int(environment["MUSTER_RANK"])] = pid
    return ranks


def kill(hosts, index, job, rank):
    """kill -9 of one rank, and of nothing else even if its pid is reused meanwhile."""
    pid = ranks_on(hosts, index, job)[rank]
    descriptor = os.pidfd_open(pid)
    try:
        if environment_of(pid).get("MUSTER_RANK") != str(rank):
            raise AssertionError(f"rank {rank} ended before it was killed")
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
