"""A machine of its own, with the kernel's NFS client: user-mode Linux behind a host of hosts.py.

    with Guest(hosts, folder, share) as guest:
        guest.start("vers=4.1", ["store_drill /mnt/share ..."])   # A script; the share is mounted.
        guest.wait() -> its exit status;  guest.output()

It sees this machine's tree read-only (hostfs) and one writable folder.  Its packets leave through
host 0, whose link may be shaped.
"""

import os
import shutil
import subprocess

from hosts import COOKIE
from share import MOUNTPORT, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULTS = "hard,timeo=600,rsize=1048576,wsize=1048576,noatime"


class Guest:
    count = 0

    def __init__(self, hosts, folder, share, host=0, memory="384M"):
        Guest.count += 1
        self.hosts, self.share, self.host = hosts, share, host
        self.number = Guest.count
        self.folder = os.path.join(folder, f"guest{self.number}")
        self.tap = f"tap{self.number}"
        self.net = f"10.78.{self.number}"
        self.memory = memory
        self.process = None

    def __enter__(self):
        os.makedirs(self.folder)
        self.hosts.run(self.host, ["sh", "-ec", f"""
            ip tuntap add dev {self.tap} mode tap
            ip addr add {self.net}.1/24 dev {self.tap}
            ip link set {self.tap} up
            echo 1 >/proc/sys/net/ipv4/ip_forward"""], check=True)
        self.share.sh(f"ip route add {self.net}.0/24 via {self.hosts.address(self.host)}")
        return self

    def __exit__(self, *unused):
        self.kill()

    def mount_command(self, options):
        if "vers=3" in options:
            where = self.share.path
            # All that it would ask rpcbind for, which is not there.
            options += f",port=2049,mountport={MOUNTPORT},mountproto=tcp,proto=tcp,nolock"
        else:
            where = "/export"
        # Later options win.
        return f"mount -t nfs -o {DEFAULTS},{options} {self.share.address}:{where} /mnt/share"

    def start(self, options, script):
        """Boots, mounts, runs the script there, and powers off."""
        for name in ("output", "status"):
            self._remove(name)
        with open(os.path.join(self.folder, "script.sh"), "w", encoding="utf-8") as file:
            file.write(f"{self.mount_command(options)} || exit 99\n{script}\n")
        init = os.path.join(self.folder, "init.sh")
        shutil.copy(os.path.join(HERE, "guest_init.sh"), init)
        os.chmod(init, 0o755)
        self.console = open(os.path.join(self.folder, "console"), "wb")
        self.process = self.hosts.popen(
            self.host,
            # All of its processes end with the first one.
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
             "linux.uml", f"mem={self.memory}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
             f"init={init}", f"vec0:transport=tap,ifname={self.tap},depth=64,gro=1", "con=null",
             "con0=null,fd:1", f"umid=muster{self.number}", f"uml_dir={self.folder}/", "quiet",
             f"MUSTER_GUEST_FOLDER={self.folder}", f"MUSTER_GUEST_NET={self.net}"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=subprocess.STDOUT,
            start_new_session=True, env={**os.environ, **COOKIE, "TMPDIR": "/dev/shm"})

    def wait(self, seconds=60):
        """The script's exit status."""
        self.process.wait(seconds)
        self.console.close()
        try:
            return int(self._read("status"))
        except ValueError as error:
            raise RuntimeError("the guest ended without a status:\n" + self._read("console")[-2000:] +
                               self.output()) from error

    def run(self, options, script, seconds=60):
        self.start(options, script)
        return self.wait(seconds)

    def serve(self, options):
        """Boots and mounts, and then runs what ask() gives."""
        self.asked = 0
        self.start(options, """
            for ((n = 1; ; n++)); do
              until [ -e /mnt/out/ask.$n ]; do sleep 0.01; done
              bash /mnt/out/ask.$n >/mnt/out/answer 2>&1
              mv /mnt/out/answer /mnt/out/answer.$n
            done""")

    def ask(self, script, seconds=60):
        """What the script prints there."""
        self.asked += 1
        path = os.path.join(self.folder, "ask")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script + "\n")
        os.rename(path, f"{path}.{self.asked}")
        answer = f"answer.{self.asked}"
        wait_for(lambda: os.path.exists(os.path.join(self.folder, answer)), seconds,
                 f"the guest's answer to {script}")
        return self._read(answer)

    def output(self):
        return self._read("output")

    def wait_for_line(self, words, seconds=60):
        def look():
            if self.process.poll() is not None and words not in self.output():
                raise RuntimeError(f"the guest ended before '{words}':\n" + self._read("console")[-2000:]
                                   + self.output())
            return words in self.output()
        wait_for(look, seconds, f"'{words}' from the guest")

    def kill(self):
        """As if its power had been cut."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None
        self.console.close()

    def _read(self, name):
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _remove(self, name):
        try:
            os.remove(os.path.join(self.folder, name))
        except FileNotFoundError:
            pass
