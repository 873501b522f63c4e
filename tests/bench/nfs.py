"""./dev bench nfs: one file written and synced over a link of 1 Gbit/s, beside dd on the kernel's client.

kernel   the posix store on the mount of a kernel client (user-mode Linux)
url      the nfs:// store, without a mount
dd       dd bs=1M conv=fsync of random bytes, on the same mount
load     what 2 and 8 nodes saved, by 8 and 2 of them behind the one link, each byte read once (nfs://)

The server is nfs-ganesha, in a namespace of its own.  In turn, medians of --runs rounds.  Needs root.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from checkpoint import RESHARDED
from common import BIN, ROOT, Table, in_turn

sys.path.insert(0, os.path.join(ROOT, "tests", "integration", "nfs"))

from guest import Guest  # noqa: E402
from hosts import Hosts  # noqa: E402
from share import Share, missing  # noqa: E402

PARTS = os.path.join(BIN, "checkpoint_parts")
DRILL = os.path.join(BIN, "store_drill")
SHIM = os.path.join(ROOT, "build", "release", "tests", "integration", "nfs", "libno_rpcbind.so")
OPTIONS = "vers=4.1,nconnect=4"


class Bench:
    def __init__(self, hosts, share, guest, mib):
        self.hosts, self.share, self.guest, self.mib = hosts, share, guest, mib
        self.count = 0

    def name(self):
        self.count += 1
        return f"bench{self.count}"

    def rate(self, text):
        """MiB/s of what the drill says; the file goes again."""
        found = re.search(r"^written (\S+)$", text, re.M)
        if not found:
            raise RuntimeError(text)
        self.guest.ask("rm /mnt/share/ckpt/bench*")
        return self.mib / float(found[1])

    def kernel(self):
        return self.rate(self.guest.ask(f"{DRILL} /mnt/share/ckpt write {self.name()} {self.mib}"))

    def url(self):
        ran = self.hosts.run(0, [DRILL, self.share.url(), "write", self.name(), str(self.mib)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
        return self.rate(ran.stdout)

    def parts(self, *words):
        ran = self.hosts.run(0, [PARTS, words[0], self.share.url(), str(self.mib), *map(str, words[1:])],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
        return ran.stdout

    def load(self, saved, loaded):
        return lambda: self.mib / json.loads(self.parts("load", saved, loaded))["s"]

    def dd(self):
        return self.rate(self.guest.ask(f"""
            began=$EPOCHREALTIME
            dd if=/tmp/noise of=/mnt/share/ckpt/{self.name()} bs=1M conv=fsync status=none || exit
            echo written $(echo "$EPOCHREALTIME $began" | awk '{{ print $1 - $2 }}')"""))


def write(table, bench, arguments):
    bench.guest.serve(OPTIONS)
    bench.guest.ask(f"head -c {arguments.mib}M /dev/urandom >/tmp/noise")
    for side in (bench.kernel, bench.url, bench.dd):
        side()  # The first of each finds everything cold.
    kernel, url, dd = in_turn(arguments.runs, [bench.kernel, bench.url, bench.dd])
    for case, ours in (("kernel client", kernel), ("nfs://", url)):
        table.add(f"{case}, {arguments.mib} MiB over {arguments.rate}", "MiB/s", ours, dd,
                  "dd conv=fsync", better="higher", cmd=f"store_drill ... write, {OPTIONS}",
                  peer_cmd=f"dd bs=1M conv=fsync, {OPTIONS}")


def load(table, bench, arguments):
    for nodes in (2, 8):
        bench.parts("save", nodes)
    for saved, loaded in RESHARDED:
        ours, plain = in_turn(arguments.runs, [bench.load(saved, loaded), bench.load(loaded, loaded)])
        table.add(f"load {saved} -> {loaded}, {arguments.mib} MiB over {arguments.rate}", "MiB/s", ours,
                  plain, f"{loaded} -> {loaded}", better="higher", asked_ratio=0.8)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--mib", type=int, default=96, help="size of the file")
    parser.add_argument("--only", choices=("write", "load"))
    parser.add_argument("--rate", default="1gbit", help="of the link, as tc understands it")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or missing():
        print("skipped: needs root and the Debian packages", " ".join(missing()))
        return 77
    folder = tempfile.mkdtemp(prefix="muster-bench-nfs-")
    try:
        with Hosts(1) as hosts, Share(hosts, folder, SHIM) as share:
            share.start()
            for host in (-1, 0):
                hosts.run(host, f"tc qdisc add dev eth0 root tbf rate {arguments.rate} burst 512kb "
                          "latency 50ms".split(), check=True)
            table = Table("nfs")
            if arguments.only != "load":
                with Guest(hosts, folder, share, memory="768M") as guest:
                    write(table, Bench(hosts, share, guest, arguments.mib), arguments)
            if arguments.only != "write":
                load(table, Bench(hosts, share, None, arguments.mib), arguments)
            table.done()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
