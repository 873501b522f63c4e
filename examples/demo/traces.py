"""Looks at the machine from outside: which processes, files and ports there are.

Nothing here asks muster; it reads /proc, so that "left behind: 0" is counted, not claimed."""

import contextlib
import os


def environment_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry)
    except OSError:
        return {}


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [part.decode(errors="replace") for part in file.read().split(b"\0") if part]
    except OSError:
        return []


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def processes_with(**wanted):
    """Processes whose environment has each NAME=value."""
    found = []
    for pid in pids():
        environment = environment_of(pid)
        if all(environment.get(name.encode()) == value.encode() for name, value in wanted.items()):
            found.append(pid)
    return found


def muster_processes():
    """Everything that carries muster's cookie, zombies of a foreign init aside."""
    return {pid for pid in pids() if b"MUSTER_CLUSTER_COOKIE" in environment_of(pid)}


def muster_files():
    found = set()
    for folder in ("/dev/shm", "/tmp", os.environ.get("XDG_RUNTIME_DIR", "/tmp")):
        for name in os.listdir(folder):
            if not name.startswith(("muster", "vader_segment", "ompi.", "pmix")):
                continue
            for root, folders, files in os.walk(os.path.join(folder, name)):
                found.update(os.path.join(root, file) for file in files + folders)
            if os.path.isfile(os.path.join(folder, name)):
                found.add(os.path.join(folder, name))
    return found


def sockets_of(pid):
    """Inodes, as the kernel's tables name them."""
    found = set()
    folder = f"/proc/{pid}/fd"
    try:
        for descriptor in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                end = os.readlink(os.path.join(folder, descriptor))
                if end.startswith("socket:["):
                    found.add(end[8:-1])
    except OSError:  # Of another user, or gone.
        pass
    return found


def sockets_of_others():
    """Those that processes without muster's cookie hold."""
    ours = muster_processes()
    return set().union(*(sockets_of(pid) for pid in pids() if pid not in ours))


def listening_ports():
    """Those of this user, whoever holds them, but for what other programs have opened."""
    found, others = set(), sockets_of_others()
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[7]) == os.getuid() and fields[9] not in others:
                    found.add(int(fields[1].rsplit(":", 1)[1], 16))
    return found


class Before:
    """What there was; `left()` counts what there is more."""

    def __init__(self):
        self.processes, self.files, self.ports = (
            muster_processes(), muster_files(), listening_ports())

    def left(self):
        return (sorted(muster_processes() - self.processes), sorted(muster_files() - self.files),
                sorted(listening_ports() - self.ports))
