"""What /proc says of a process.  One that is gone has no environment, no command and no stat."""

import os


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def environment_of(pid):
    entries = read(f"/proc/{pid}/environ").decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def command_of(pid):
    return read(f"/proc/{pid}/cmdline").decode(errors="replace").split("\0")[:-1]


def stat_of(pid):
    """(State, parent), or None.  The name between the brackets may hold anything."""
    fields = read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    return (fields[0].decode(), int(fields[1])) if len(fields) > 1 else None
