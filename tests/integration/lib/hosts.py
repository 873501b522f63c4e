"""Namespaces as hosts: own addresses, hostname, boot id and /dev/shm, one bridge between them.  Needs
root.

    with Hosts(2) as hosts:
        hosts.run(0, ["hostname"])

Each host is a network, UTS, IPC and mount namespace held open by one sleeping process that carries the
cookie MUSTER_CLUSTER_COOKIE, so `./dev clean` finds what a crash left behind.  Addresses are
10.77.0.10 + i on eth0; host -1 is the head, 10.77.0.1.  Traffic never leaves the bridge, which is in
a namespace of its own.  Files are shared, but for /dev/shm.
"""

import os
import signal
import subprocess
import uuid

COOKIE = {"MUSTER_CLUSTER_COOKIE": "hosts"}
# Before a command: it ends with this process, also when that is killed.
WITH_US = ["setpriv", "--pdeathsig", "KILL"]
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def on(pid, command):
    """The command line that runs `command` inside the namespaces of process `pid`."""
    return ["nsenter", "-t", str(pid), "-n", "-u", "-i", "-m", "--wdns=" + os.getcwd(), "--",
            *command]


def network_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


class Hosts:
    def __init__(self, count, rate=None, binds=(), before=""):
        """rate: shapes each host's link, as tc understands it ("1gbit"); None leaves it unshaped.
        binds: pairs (what, where) of files or folders that each host sees elsewhere as well.
        before: a shell script that each host runs before it gets eth0; {index} is its number,
        from 0 for the head."""
        self.count = count
        self.rate = rate
        self.binds = binds
        self.before = before
        self.holders = {}

    @staticmethod
    def name(index):
        return "muster-head" if index < 0 else f"muster-n{index}"

    @staticmethod
    def address(index):
        return "10.77.0.1" if index < 0 else f"10.77.0.{10 + index}"

    def __enter__(self):
        try:
            self.bridge = self._hold("muster-switch")
            # sysfs shows the network of its mounter.
            self._in(self.bridge, "mount -t sysfs -o ro sysfs /sys && "
                     "ip link add br0 type bridge && ip link set br0 up")
            for index in range(-1, self.count):
                self._add(index)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        """Ends every process of the hosts; the namespaces go with the last one."""
        for index in list(self.holders):
            for pid in self.processes(index):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for holder in [*self.holders.values(), getattr(self, "bridge", None)]:
            if holder and holder.poll() is None:
                holder.send_signal(signal.SIGKILL)
                holder.wait()
        self.holders = {}

    def command(self, index, command):
        return on(self.holders[index].pid, command)

    def popen(self, index, command, **options):
        return subprocess.Popen([*WITH_US, *self.command(index, command)], **options)

    def run(self, index, command, **options):
        return subprocess.run(self.command(index, command), **options)

    def processes(self, index):
        """The pids on this host, without the one that holds it open."""
        holder = self.holders[index].pid
        here = network_of(holder)
        return [int(pid) for pid in os.listdir("/proc")
                if pid.isdigit() and int(pid) != holder and network_of(pid) == here]

    def bind(self, index, what, where):
        """Shows a file or folder of this machine elsewhere, on one host."""
        self.run(index, ["mount", "--bind", what, where], check=True)

    # ---- the network ----------------------------------------------------------------------------

    def link(self, index, state):
        """Plugs the host's cable in ("up") or out ("down")."""
        self._in(self.bridge, f"ip link set p{index + 1} {state}")

    def traffic(self, index):
        """(bytes that left the host, bytes that came), as the switch's port counted them."""
        seen = self._in(self.bridge, f"cat /sys/class/net/p{index + 1}/statistics/[rt]x_bytes")
        received, sent = (int(word) for word in seen.split())
        return received, sent

    # ---- making them ----------------------------------------------------------------------------

    def _hold(self, hostname):
        """A process in new namespaces."""
        script = f"""
            set -e
            hostname {hostname}
            mount -t tmpfs -o mode=1777,size=1g shm /dev/shm
            echo {uuid.uuid4()} >/dev/shm/.boot_id
            mount --bind /dev/shm/.boot_id {BOOT_ID}
            ip link set lo up
            echo up
            exec sleep 1000000"""
        holder = subprocess.Popen(
            [*WITH_US, "unshare", "--net", "--uts", "--ipc", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            env={**os.environ, **COOKIE})
        if holder.stdout.readline() != b"up\n":
            raise RuntimeError("unshare --net --uts --ipc --mount failed: hosts need root")
        return holder

    def _in(self, holder, script):
        return subprocess.run(on(holder.pid, ["sh", "-c", script]), check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout

    def _add(self, index):
        holder = self._hold(self.name(index))
        self.holders[index] = holder
        if self.before:
            self._in(holder, self.before.replace("{index}", str(index + 1)))
        port = f"p{index + 1}"
        self._in(self.bridge,
                 f"ip link add {port} type veth peer name e{port} && "
                 f"ip link set e{port} netns {holder.pid} && "
                 f"ip link set {port} master br0 && ip link set {port} up")
        self._in(holder,
                 f"ip link set e{port} name eth0 && ip addr add {self.address(index)}/24 dev eth0 && "
                 "ip link set eth0 up")
        for what, where in self.binds:
            self.bind(index, what, where)
        if self.rate:
            self._in(holder, f"tc qdisc add dev eth0 root tbf rate {self.rate} burst 256k latency 50ms")
