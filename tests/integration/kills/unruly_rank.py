"""A rank with bad manners: what it starts gets away by a session of its own, by a double fork and by
both, hears no signal that asks, and holds a port.

  unruly_rank.py RECORD SECONDS

RECORD gets a line "pid port inode" of each: the listening socket's, since another may have the
port later.  After SECONDS it leaves, and leaves them behind.
"""

import os
import signal
import socket
import sys
import time


def stay(record):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", 0))
    inode = os.fstat(listener.fileno()).st_ino
    line = f"{os.getpid()} {listener.getsockname()[1]} {inode}\n".encode()
    with open(record, "ab", buffering=0) as file:
        file.write(line)
    while True:
        time.sleep(60)


def get_away(record, steps):
    if os.fork():
        return
    for step in steps:
        if step == "setsid":
            os.setsid()
        elif os.fork():
            os._exit(0)
    stay(record)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for way in (["setsid"], ["fork"], ["setsid", "fork"], []):
        get_away(sys.argv[1], way)
    time.sleep(float(sys.argv[2]))
