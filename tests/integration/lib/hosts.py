"""Network namespaces as hosts: own addresses, own hostname, one bridge between them.  Needs root.

    with Hosts(2) as hosts:
        hosts.run(0, ["hostname"])

Each host is a network and UTS namespace held open by one sleeping process that carries the cookie
MUSTER_CLUSTER_COOKIE, so `./dev clean` finds what a crash left behind.  Addresses are 10.77.0.10 + i
on eth0; host -1 is the head, 10.77.0.1.  Traffic never leaves the bridge, which is in a namespace of
its own.
"""

import os
import signal
import subprocess

COOKIE = {"MUSTER_CLUSTER_COOKIE": "hosts"}


def on(pid, command):
    """The command line that runs `command` inside the namespaces of process `pid`."""
    return ["nsenter", "-t", str(pid), "-n", "-u", "--wdns=" + os.getcwd(), "--"] + list(command)


class Hosts:
    def __init__(self, count, rate=None):
        """rate: shapes each host's link, as tc understands it ("1gbit"); None leaves it unshaped."""
        self.count = count
        self.rate = rate
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
            self._in(self.bridge, "ip link add br0 type bridge && ip link set br0 up")
            for index in range(-1, self.count):
                self._add(index)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        for holder in [*self.holders.values(), getattr(self, "bridge", None)]:
            if holder and holder.poll() is None:
                holder.send_signal(signal.SIGKILL)
                holder.wait()
        self.holders = {}

    def command(self, index, command):
        return on(self.holders[index].pid, command)

    def popen(self, index, command, **options):
        return subprocess.Popen(self.command(index, command), **options)

    def run(self, index, command, **options):
        return subprocess.run(self.command(index, command), **options)

    def _hold(self, hostname):
        script = f"hostname {hostname}; ip link set lo up; echo up; exec sleep 1000000"
        holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            env={**os.environ, **COOKIE})
        if holder.stdout.readline() != b"up\n":
            raise RuntimeError("unshare --net --uts failed: hosts need root")
        return holder

    def _in(self, holder, script):
        subprocess.run(on(holder.pid, ["sh", "-c", script]), check=True)

    def _add(self, index):
        holder = self._hold(self.name(index))
        self.holders[index] = holder
        port = f"p{index + 1}"
        self._in(self.bridge,
                 f"ip link add {port} type veth peer name e{port} && "
                 f"ip link set e{port} netns {holder.pid} && "
                 f"ip link set {port} master br0 && ip link set {port} up")
        self._in(holder,
                 f"ip link set e{port} name eth0 && ip addr add {self.address(index)}/24 dev eth0 && "
                 "ip link set eth0 up")
        if self.rate:
            self._in(holder, f"tc qdisc add dev eth0 root tbf rate {self.rate} burst 256k latency 50ms")
