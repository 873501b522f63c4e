"""Stands between an NFSv3 client and its server, and loses answers: of each kind of call that changes
something, the first one that succeeded, and every seventh from then on, never arrives; its connection
breaks instead.

usage: lossy_proxy.py SERVER PORT...      listens on the same ports of this host

It says that it is ready, and on SIGTERM {"CREATE": 5, ...}: how many answers of each kind were lost.
"""

import collections
import json
import signal
import socket
import struct
import sys
import threading

NFS = 100003
CALLS = {2: "SETATTR", 7: "WRITE", 8: "CREATE", 9: "MKDIR", 12: "REMOVE", 13: "RMDIR", 15: "LINK",
         21: "COMMIT"}
EVERY = 7

lock = threading.Lock()
answered = collections.Counter()
lost = collections.Counter()


def read_exactly(source, size):
    parts = []
    while size > 0:
        part = source.recv(min(size, 1 << 20))
        if not part:
            raise ConnectionError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def records(source):
    """(head of the record, whole record with its mark), one after the other."""
    while True:
        mark = read_exactly(source, 4)
        body = read_exactly(source, struct.unpack(">I", mark)[0] & 0x7FFFFFFF)
        yield body[:64], mark + body


def call_in(head):
    """(xid, the name of the call or None)."""
    xid, kind, _, program, _, procedure = struct.unpack(">6I", head[:24])
    known = kind == 0 and program == NFS
    return xid, CALLS.get(procedure) if known else None


def succeeded(head):
    """Whether an answer without a verifier says accepted, success, NFS3_OK."""
    return len(head) >= 28 and struct.unpack(">6I", head[4:28]) == (1, 0, 0, 0, 0, 0)


def is_lost(name):
    with lock:
        answered[name] += 1
        if answered[name] % EVERY != 1:
            return False
        lost[name] += 1
        return True


def end(*sockets):
    for one in sockets:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def carry(client, server):
    waiting = {}

    def up():
        try:
            for head, whole in records(client):
                xid, name = call_in(head)
                waiting[xid] = name
                server.sendall(whole)
        except OSError:
            pass
        end(client, server)

    threading.Thread(target=up, daemon=True).start()
    try:
        for head, whole in records(server):
            name = waiting.pop(struct.unpack(">I", head[:4])[0], None)
            if name and succeeded(head) and is_lost(name):
                break
            client.sendall(whole)
    except OSError:
        pass
    end(client, server)


def serve(listener, address, port):
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((address, port))
        threading.Thread(target=carry, args=(client, server), daemon=True).start()


def finish(*_):
    print(json.dumps(lost), flush=True)
    sys.exit(0)


def main():
    signal.signal(signal.SIGTERM, finish)
    for port in map(int, sys.argv[2:]):
        listener = socket.create_server(("", port))
        threading.Thread(target=serve, args=(listener, sys.argv[1], port), daemon=True).start()
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
