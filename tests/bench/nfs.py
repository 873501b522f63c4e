"""./dev bench nfs: one file written and synced over a link of 1 Gbit/s, beside dd on the kernel's client.

kernel   the posix store on the mount of a kernel client (user-mode Linux)
url      the nfs:// store, without a mount
dd       dd bs=1M conv=fsync of random bytes, on the same mount
load     what 2 and 8 nodes saved, by 8 and 2 of them behind the one link, each byte read once (nfs://)
unshaped     a shard with its CRCs on a link without a limit, kernel's client and nfs://, beside dd and torch.save:
         seconds, and the processor time a GiB of who writes (there: with the kernel's threads)

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

from checkpoint import RESHARDED, TORCH_SAVE
from common import BIN, ROOT, Table, in_turn
from torchrun import PYTHON

sys.path.insert(0, os.path.join(ROOT, "tests", "integration", "nfs"))

from guest import Guest  # noqa: E402
from hosts import Hosts  # noqa: E402
from share import Share, missing  # noqa: E402

PARTS = os.path.join(BIN, "checkpoint_parts")
DRILL = os.path.join(BIN, "store_drill")
SHIM = os.path.join(ROOT, "build", "release", "tests", "integration", "nfs", "libno_rpcbind.so")
OPTIONS = "vers=4.1,nconnect=4"
# Seconds that the kernel's own threads have run.
KERNEL_THREADS = "cat /proc/[0-9]*/stat 2>/dev/null | awk '$4 == 2 { t += $15 } END { print \"kernel\", t / 100 }'"


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

    def timed(self, side):
        """(Seconds, processor time a GiB) of a writer in the guest, which prints both as JSON."""
        said = self.guest.ask(f"{KERNEL_THREADS}\n{side}\n{KERNEL_THREADS}\nrm -rf /mnt/share/ckpt/*",
                              seconds=300)
        before, after = (float(words) for words in re.findall(r"^kernel (\S+)$", said, re.M))
        found = re.search(r"^\{.*\}$", said, re.M)
        if not found:
            raise RuntimeError(said)
        found = json.loads(found[0])
        return found["s"], (found["cpu_s"] + after - before) * 1024 / self.mib

    def url_timed(self):
        found = json.loads(self.parts("write"))
        self.share.sh(f"rm -rf {self.share.path}/ckpt/*")
        return found["s"], found["cpu_s"] * 1024 / self.mib

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


def unshaped(table, bench, runs):
    guest = bench.guest
    guest.serve(OPTIONS)
    folder, mib = "/mnt/share/ckpt", bench.mib
    guest.ask(f"head -c {mib}M /dev/urandom >/tmp/noise")
    with open(os.path.join(guest.folder, "save.py"), "w", encoding="ascii") as file:
        file.write(TORCH_SAVE)
    sides = {
        "kernel client": lambda: bench.timed(f"{PARTS} write {folder} {mib}"),
        "nfs://": bench.url_timed,
        "dd conv=fsync": lambda: bench.timed(f"""
            TIMEFORMAT='%R %U %S'
            {{ time dd if=/tmp/noise of={folder}/dd bs=1M conv=fsync status=none; }} 2>&1 |
              awk '{{ printf "{{\\"s\\": %s, \\"cpu_s\\": %s}}\\n", $1, $2 + $3 }}'"""),
        "torch.save": lambda: bench.timed(f"{PYTHON} /mnt/out/save.py {folder}/t {mib}"),
    }
    if not guest.ask(f"{PYTHON} -c 'import torch; print(torch.__version__)'", seconds=300)[:1].isdigit():
        print("torch.save: not measured, python3-torch is not installed")
        del sides["torch.save"]
    for side in sides.values():
        side()  # The first of each finds everything cold.
    took = dict(zip(sides, in_turn(runs, list(sides.values()))))
    for ours in list(took)[:2]:
        for theirs in list(took)[2:]:
            for i, (what, unit) in enumerate((("", "s"), (": processor time a GiB", "s/GiB"))):
                table.add(f"{ours}, {mib} MiB, no limit{what}", unit, [one[i] for one in took[ours]],
                          [one[i] for one in took[theirs]], theirs, cmd=f"checkpoint_parts write, {OPTIONS}",
                          peer_cmd=f"{theirs}, {OPTIONS}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--mib", type=int, default=96, help="size of the file")
    parser.add_argument("--only", choices=("write", "load", "unshaped"))
    parser.add_argument("--rate", default="1gbit", help="of the link, as tc understands it")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or missing():
        print("skipped: needs root and the Debian packages", " ".join(missing()))
        return 77
    folder = tempfile.mkdtemp(prefix="muster-bench-nfs-")
    try:
        with Hosts(1) as hosts, Share(hosts, folder, SHIM) as share:
            share.start()
            table = Table("nfs")
            # Without the limit first: there is none to take away then.
            if arguments.only in (None, "unshaped"):
                with Guest(hosts, folder, share, memory="1536M") as guest:
                    unshaped(table, Bench(hosts, share, guest, arguments.mib), arguments.runs)
            for host in (-1, 0):
                hosts.run(host, f"tc qdisc add dev eth0 root tbf rate {arguments.rate} burst 512kb "
                          "latency 50ms".split(), check=True)
            if arguments.only in (None, "write"):
                with Guest(hosts, folder, share, memory="768M") as guest:
                    write(table, Bench(hosts, share, guest, arguments.mib), arguments)
            if arguments.only in (None, "load"):
                load(table, Bench(hosts, share, None, arguments.mib), arguments)
            table.done()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
