"""Stores on a real NFS server: over a kernel client's mount, and nfs:// without one.

usage: nfs_test.py BIN SHIM [TEST...]      LIBNFS=OFF: this build has none
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
sys.path.insert(0, HERE)

import promises  # noqa: E402
from guest import Guest  # noqa: E402
from hosts import Hosts  # noqa: E402
from share import MOUNTPORT, Share, missing, wait_for  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
SHIM = sys.argv.pop(1) if len(sys.argv) > 1 else ""
DRILL = os.path.join(BIN, "store_drill")
CONFORMANCE = os.path.join(BIN, "store_conformance_test")
MIB = 1 << 20


class OnAShare(unittest.TestCase):
    size = "512M"
    quota = None
    clients = 1

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="muster-nfs-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.hosts = self.enterContext(Hosts(self.clients))
        self.share = self.enterContext(Share(self.hosts, self.folder, SHIM, self.size, self.quota))

    def on_client(self, *command, **env):
        return self.hosts.run(0, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, env={**os.environ, **env})


class Conformance(OnAShare):
    """One suite for every store; each test of it as another line of output."""

    def assert_all_passed(self, status, output):
        self.assertEqual(status, 0, output)
        self.assertRegex(output, r"PASSED  \] 16 tests", output)

    def test_nfs_url(self):
        self.share.start()
        ran = self.on_client(CONFORMANCE, MUSTER_TEST_STORE=self.share.url())
        self.assert_all_passed(ran.returncode, ran.stdout)

    def test_nfs_url_where_answers_are_lost(self):
        self.share.start()
        proxy = self.hosts.popen(0, [sys.executable, "-B", os.path.join(HERE, "lossy_proxy.py"),
                                     self.share.address, "2049", str(MOUNTPORT)],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.addCleanup(proxy.stdout.close)
        self.addCleanup(proxy.wait)
        self.addCleanup(proxy.kill)
        self.assertEqual(proxy.stdout.readline(), "ready\n")
        url = self.share.url().replace(self.share.address, self.hosts.address(0))
        ran = self.on_client(CONFORMANCE, MUSTER_TEST_STORE=url)
        self.assert_all_passed(ran.returncode, ran.stdout)
        proxy.terminate()
        lost = json.loads(proxy.stdout.readline())
        for call in ("CREATE", "MKDIR", "WRITE", "COMMIT", "LINK", "REMOVE", "RMDIR"):
            self.assertGreater(lost.get(call, 0), 0, f"no answer to {call} was lost: {lost}")

    def test_kernel_client(self):
        self.share.start()
        with Guest(self.hosts, self.folder, self.share) as guest:
            status = guest.run("vers=4.1", f"MUSTER_TEST_STORE=/mnt/share/ckpt {CONFORMANCE}")
            self.assert_all_passed(status, guest.output())


class Drill:
    """store_drill on the client host, over nfs://."""

    def __init__(self, test, *arguments, **options):
        self.path = os.path.join(test.folder, f"drill-{arguments[1]}")
        with open(self.path, "w", encoding="utf-8") as file:
            self.process = test.hosts.popen(0, [DRILL, test.share.url(**options), *arguments],
                                            stdin=subprocess.DEVNULL, stdout=file,
                                            stderr=subprocess.STDOUT)
        test.addCleanup(self.process.wait)
        test.addCleanup(self.process.kill)

    def output(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()


class Disturbed(OnAShare):
    """Two runs on one share: "url" over nfs:// on host 0, "kernel" through a mount on host 1.  Both
    commit step 1; while both write another one, over links that are slow for so long, something
    happens."""
    clients = 2  # Each with a link of its own: on one, either could starve the other.
    mib = 16
    options = "vers=4.1"

    def begin(self, last, last_of_kernel=None):
        self.share.start()
        self.guest = self.enterContext(Guest(self.hosts, self.folder, self.share, host=1))
        go = os.path.join(self.folder, "go")
        self.gos = {"kernel": os.path.join(self.guest.folder, "go"), "url": go}
        self.guest.start(self.options, f"{DRILL} /mnt/share/ckpt save kernel 1 "
                         f"{last_of_kernel or last} {self.mib} /mnt/out/go")
        self.url = Drill(self, "save", "url", "1", str(last), str(self.mib), go)
        self.assertEqual(self.said(1), {"kernel": "committed 1", "url": "committed 1"})

    def output(self, run):
        return self.guest.output() if run == "kernel" else self.url.output()

    def said(self, step, runs=("kernel", "url")):
        """{run: "committed 2" or "failed 2 ..."}, once both have said so."""
        def line(run):
            found = re.search(rf"^(committed|failed) {step}\b.*\n", self.output(run), re.M)
            return found and found[0].strip()
        return {run: wait_for(lambda run=run: line(run), 60, f"step {step} of {run}: {self.output(run)}")
                for run in runs}

    def shape(self, how):
        for host in range(self.clients):
            self.hosts.run(host, f"tc qdisc {how} dev eth0 root".split()
                           + ("tbf rate 10mbit burst 256k latency 50ms".split() if how == "add" else []),
                           check=True)

    def go(self, steps):
        for run, step in steps.items():
            open(f"{self.gos[run]}.{step}", "w").close()

    def write(self, step=None, **steps):
        """Returns when both, or the runs given with their steps, are in the middle of a file; the
        paths."""
        self.shape("add")
        paths = []
        # The kernel first: it keeps what it is given until fsync.
        for run, step in (steps or {"kernel": step, "url": step}).items():
            self.go({run: step})
            paths.append(self.share.wait_for_bytes(f"{run}/data/g0000000001-s{step:012}", MIB // 2))
        sizes = self.share.files()
        for path in paths:
            self.assertLess(sizes[path], self.mib * MIB, "it was whole before it could be disturbed")
        return paths

    def settle(self, step):
        self.shape("del")
        return self.said(step)

    def stays_silent(self, step, seconds):
        with self.assertRaises(TimeoutError):
            wait_for(lambda: any(f"committed {step}" in self.output(run) for run in self.gos), seconds)

    def finish(self):
        self.assertEqual(self.url.process.wait(60), 0, self.url.output())
        self.assertEqual(self.guest.wait(), 0, self.guest.output())

    def assert_loads(self, step, runs=("kernel", "url")):
        """0 lost, 0 torn: a client that was not there loads this step, and all commits are whole."""
        for run in runs:
            ran = self.on_client(DRILL, self.share.url(), "check", run)
            self.assertEqual(ran.returncode, 0, ran.stdout)
            self.assertRegex(ran.stdout, rf"loaded {step}, \d commits, 0 damaged")

    def assert_committed(self, step):
        self.assertEqual(self.settle(step), {"kernel": f"committed {step}", "url": f"committed {step}"})

    def lose_power(self, step):
        writing = self.write(step)
        before = [self.share.files()[path] for path in writing]
        self.share.power_cut()
        after = self.share.files()
        for path, size in zip(writing, before):
            self.assertLess(after.get(path, 0), size, "nothing was lost: this proves nothing")
        self.share.start()
        self.assert_committed(step)


class Faults(Disturbed):
    def test_what_passes_is_waited_out(self):
        self.begin(last=4)
        self.lose_power(2)

        self.write(3)
        self.share.pause()
        self.stays_silent(3, 10)
        self.share.resume()
        self.assert_committed(3)

        self.write(4)
        for host in range(self.clients):
            self.hosts.link(host, "down")
        self.stays_silent(4, 2)
        for host in range(self.clients):
            self.hosts.link(host, "up")
        self.assert_committed(4)
        self.finish()
        self.assert_loads(4)

    def test_what_stays_is_an_error_and_costs_one_checkpoint(self):
        self.begin(last=4, last_of_kernel=5)
        writing = self.write(2)
        self.share.kill()
        for path in writing:
            self.share.sh(f"rm -r {self.share.path}/{os.path.dirname(path)}")
        self.share.start()
        said = self.settle(2)
        self.assertRegex(said["kernel"], "failed 2 ")
        self.assertRegex(said["url"], "failed 2 unavailable: .*Stale file handle")

        self.write(3)
        self.share.kill()
        self.share.start(access="RO")
        said = self.settle(3)
        self.assertRegex(said["kernel"], "failed 3 ")  # It says EIO.
        self.assertRegex(said["url"], "failed 3 denied: .*Read-only file system")
        self.share.kill()
        self.share.start()
        self.assert_loads(1)

        self.go({"kernel": 4, "url": 4})
        self.assertEqual(self.said(4), {"kernel": "committed 4", "url": "committed 4"})
        self.assertEqual(self.url.process.wait(60), 0)

        # A server that never comes back: a hard mount ends with its machine, nfs:// with a word.
        late = Drill(self, "save", "late", "5", "6", str(self.mib), os.path.join(self.folder, "late"),
                     timeout=4)
        wait_for(lambda: "committed 5" in late.output(), what="the late one's first step")
        self.write(kernel=5)
        self.share.pause()
        self.stays_silent(5, 1)
        self.guest.kill()
        self.share.resume()

        self.gos["late"] = os.path.join(self.folder, "late")
        self.go({"late": 6})
        self.share.wait_for_bytes("late/data/g0000000001-s000000000006", MIB // 2)
        self.share.pause()
        self.assertEqual(late.process.wait(60), 0)
        self.assertRegex(late.output(), r"failed 6 unavailable: .*write nfs://10\.77\.0\.1/\S+/late/data/"
                                        r"\S+ at byte \d+: no answer from nfs://\S+ for 4 s")
        self.shape("del")
        self.share.resume()
        self.assert_loads(4)
        self.assert_loads(5, ["late"])


class FaultsOverV3(Disturbed):
    options = "vers=3"

    def test_the_server_loses_its_power_and_comes_back(self):
        self.begin(last=2)
        self.lose_power(2)
        self.finish()
        self.assert_loads(2)


class Full(Disturbed):
    size = "64M"
    mib = 24  # Two fit, and no third.
    says = "No space left on device"

    def test_a_share_that_is_full_says_so_and_keeps_what_it_has(self):
        self.begin(last=2)
        self.go({"kernel": 2, "url": 2})
        for run, line in self.said(2).items():
            self.assertRegex(line, rf"failed 2 exhausted: .*{self.says}", run)
        self.finish()
        # The same disk, on the server itself.
        said = self.share.sh(f"{DRILL} {self.share.path}/ckpt save local 1 1 {self.mib}")
        self.assertRegex(said, rf"failed 1 exhausted: .*{self.says}")
        self.assert_loads(1)


class OverQuota(Full):
    size, quota = "512M", "64M"
    says = "Disk quota exceeded"

    def setUp(self):
        with open("/proc/filesystems", encoding="ascii") as file:
            if "btrfs" not in file.read() or not shutil.which("mkfs.btrfs"):
                self.skipTest("SKIPPED: needs btrfs (Debian's btrfs-progs), whose quotas hold for root")
        super().setUp()


class Programs(OnAShare):
    """muster's own programs, with a store that nobody mounted."""

    def muster(self, *arguments):
        ran = self.on_client(os.path.join(BIN, "muster"), *arguments)
        return ran.returncode, ran.stdout

    def ckpt(self, action, *options, status=0):
        """What `muster ckpt` says of the one run."""
        ended, said = self.muster("ckpt", action, "--json", self.share.url(), *options)
        self.assertEqual(ended, status, said)
        said = json.loads(said)
        return said[0] if isinstance(said, list) else said

    def commits(self):
        return [commit["commit"] for commit in self.ckpt("ls")["commits"]]

    def test_a_job_saves_and_another_client_keeps_house(self):
        self.share.start()
        status, said = self.muster("run", "-N", "2", "--ranks-per-node", "1", "--checkpoint-store",
                                   self.share.url(), "--", os.path.join(BIN, "byte_gpt"),
                                   "--steps", "8", "--checkpoint-every", "2")
        self.assertEqual(status, 0, said)
        status, said = self.muster("ckpt", "verify", self.share.url())
        self.assertEqual(status, 0, said)
        self.assertIn("whole", said)
        self.assertEqual(self.commits(), ["g1-s8", "g1-s6", "g1-s4"])
        run = self.ckpt("ls")["run"]

        self.ckpt("pin", run, "--commit", "g1-s4", "--reason", "paper")
        self.ckpt("pin", run, "--commit", "g1-s6", "--for", "1h")
        self.ckpt("unpin", run, "--commit", "g1-s6")
        plan = self.ckpt("gc", "--keep", "last=1", "--dry-run")
        self.assertEqual([commit.get("kept") for commit in plan["commits"]], ["last 1", None, "pinned"])
        self.assertEqual(len(self.commits()), 3)
        freed = self.ckpt("gc", "--keep", "last=1")
        self.assertEqual((freed["commits"], freed["folders"]), (1, 1))
        self.assertEqual(self.commits(), ["g1-s8", "g1-s4"])

        self.export(run)
        self.adopt(run)
        self.find_a_flipped_bit(run)

    def drill(self, *arguments):
        ran = self.on_client(DRILL, self.share.url(), *arguments)
        self.assertEqual(ran.returncode, 0, ran.stdout)

    def export(self, run):
        """From the share to a folder, and to the share: the same files."""
        out = os.path.join(self.folder, "out")
        here = self.ckpt("export", run, "--out", out, "--max-shard-size", "2M")
        self.drill("mkdir", "exported")
        there = self.ckpt("export", run, "--out", self.share.url("ckpt/exported"),
                          "--max-shard-size", "2M")
        self.assertEqual(here["files"], there["files"])
        for name in os.listdir(out):
            with open(os.path.join(out, name), "rb") as one, \
                    open(self.share.seen(f"ckpt/exported/{name}"), "rb") as other:
                self.assertEqual(one.read(), other.read(), name)

    def adopt(self, run):
        """Its record is lost; the share must not be changed behind the server's back."""
        self.drill("unlink", f"{run}/commits/g0000000001-s000000000008.json")
        self.assertEqual(self.commits(), ["g1-s4"])
        self.ckpt("adopt", run, "--commit", "g1-s8")
        self.assertEqual(self.commits(), ["g1-s8", "g1-s4"])
        self.assertEqual(self.ckpt("verify", "--deep")["damage"], [])

    def find_a_flipped_bit(self, run):
        shard = next(path for path in self.share.files()
                     if "s000000000004-" in path and path.endswith("00001-of-00002.safetensors"))
        with open(self.share.seen(shard), "r+b") as file:
            at = os.path.getsize(self.share.seen(shard)) - 12345
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 16]))
        self.assertEqual(self.ckpt("verify", run, "--commit", "g1-s8")["damage"], [])
        (damage,) = self.ckpt("verify", run, "--commit", "g1-s4", "--deep", status=1)["damage"]
        self.assertEqual((damage["begin"], damage["end"]), (at, at + 1))
        self.assertTrue(shard.endswith(damage["path"]), damage)

    def test_the_doctor_measures_and_judges(self):
        self.share.start()
        status, said = self.muster("doctor", "--json", "--size", "4", "--store", self.share.url())
        self.assertEqual(status, 0, said)
        report = json.loads(said)
        self.assertTrue(report["safe"])
        rates = {one["what"]: one["value"] for one in report["measured"]}
        self.assertGreater(rates["write and sync"], 0)
        self.assertGreater(rates["link"], 0)
        self.assertEqual(self.share.files(), {}, "it leaves nothing")
        with Guest(self.hosts, self.folder, self.share) as guest:
            muster = os.path.join(BIN, "muster")
            guest.start("vers=4.1,soft,nconnect=2", f"""
                {muster} doctor --size 4 --store /mnt/share/ckpt && exit 1
                {muster} doctor --answer --store /mnt/share/ckpt""")
            status, said = self.muster("doctor", "--size", "1", "--peer", "--store", self.share.url())
            self.assertEqual((status, guest.wait()), (0, 0), said + guest.output())
            self.assertRegex(said, "another node sees a new name after: .* ms")
            self.assertRegex(guest.output(), "wrong  hard: soft")
            self.assertRegex(guest.output(), "advice  nconnect: 2\n +-> nconnect=8")
            self.assertRegex(guest.output(), "write and sync: .* MiB/s")


class Opening(OnAShare):
    def open(self, url):
        ran = self.on_client(DRILL, url, "check", "run")
        self.assertEqual(ran.returncode, 1, ran.stdout)
        return ran.stdout

    def test_what_cannot_be_opened_says_why(self):
        self.assertRegex(self.open(self.share.url(timeout=1)),
                         "unavailable: .*cannot connect to port 2049 of 10.77.0.1: .*refused")
        self.share.start()
        self.assertRegex(self.open(self.share.url("nowhere")), "denied: .*showmount -e 10.77.0.1")
        self.assertRegex(self.open(self.share.url(mountport=9, timeout=1)), "no MOUNT service.*mountport=9")
        self.assertRegex(self.open(f"nfs://{self.share.address}{self.share.path}?timeout=1"),
                         "portmapper, port 111")
        self.share.kill()
        self.share.start(protocols="4")
        said = self.open(self.share.url())
        self.assertIn("NFSv4 only", said)
        self.assertIn(f"mount -t nfs -o vers=4.1,", said)


if __name__ == "__main__":
    if os.environ.get("LIBNFS") == "OFF":
        print("skipped: this build has no libnfs (Debian's libnfs-dev)")
        sys.exit(77)
    if missing():
        print("skipped: needs the Debian packages " + " ".join(missing()))
        sys.exit(77)
    promises.main(needs_root="namespaces and mounts")
