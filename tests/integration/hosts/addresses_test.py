"""Hosts whose names and interfaces mislead: no setting is needed.

Each has docker0 and virbr0 with the same addresses as every other one, a fabric that swallows what is
sent, and the one that works last; no DNS, and a hostname that means 127.0.1.1.

usage: addresses_test.py BIN [TEST...]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))

import promises  # noqa: E402
from cluster import Cluster  # noqa: E402
from hosts import Hosts  # noqa: E402

BIN = sys.argv.pop(1) if len(sys.argv) > 1 else ""
HOSTS, SLOTS = 2, 2

# Each bridge has a port, so it has a carrier: an interface like any other.
BRIDGE = """
ip link add {name} type bridge
ip addr add {address} dev {name}
ip link add {name}-a type veth peer name {name}-b
ip link set {name}-a master {name}
ip link set {name}-a up
ip link set {name}-b up
ip link set {name} up
"""
MISLEADING = "set -e\n" + "".join(
    BRIDGE.replace("{name}", name).replace("{address}", address) for name, address in (
        ("docker0", "172.17.0.1/16"),
        ("virbr0", "192.168.122.1/24"),
        # The head's address is swallowed here: no answer, and no error.
        ("fabric0", "10.66.0.1{index}/24"))) + """
ip neigh add 10.66.0.11 lladdr 02:00:00:00:00:01 dev fabric0 || true
ip neigh add 10.66.0.12 lladdr 02:00:00:00:00:02 dev fabric0 || true
"""

WHERE = r"""
import os, socket, sys
names = ("MASTER_ADDR", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "OMPI_MCA_btl_tcp_if_include")
print("|".join(os.environ[name] for name in names), socket.gethostbyname(socket.gethostname()))
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if os.environ["RANK"] == "0":
    with socket.create_server(("", address[1])) as server:
        server.settimeout(60)
        for _ in range(int(os.environ["WORLD_SIZE"]) - 1):
            server.accept()
else:
    while True:
        try:
            socket.create_connection(address, 60)
            break
        except ConnectionRefusedError:
            pass
"""

GLOO = r"""
import datetime, torch, torch.distributed as dist
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
ones = torch.ones(1000)
dist.all_reduce(ones)
print("all_reduce", int(ones.sum()), dist.get_world_size())
dist.destroy_process_group()
"""


class Addresses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="muster-addresses-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        resolv = cls.file("resolv.conf", "")
        cls.hosts = cls.enterClassContext(
            Hosts(HOSTS, binds=[(resolv, "/etc/resolv.conf")], before=MISLEADING))
        for index in range(-1, HOSTS):
            names = cls.file(f"hosts{index}", f"127.0.0.1 localhost\n127.0.1.1 {Hosts.name(index)}\n")
            cls.hosts.bind(index, names, "/etc/hosts")
        cls.cluster = cls.enterClassContext(
            Cluster(cls.hosts, cls.folder, SLOTS, os.path.join(BIN, "muster"), addresses=False))

    @classmethod
    def file(cls, name, text):
        path = os.path.join(cls.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def output(self, *command):
        done = self.cluster.run("run", "-N", str(HOSTS), "--ranks-per-node", str(SLOTS), "--",
                                *command)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout + self.cluster.logs())
        return sorted(done.stdout.splitlines())

    def test_the_hosts_are_as_misleading_as_they_should_be(self):
        for node in self.cluster.ask("nodes"):
            index = int(node["name"][1:])
            self.assertEqual(node["addresses"], ["172.17.0.1", "192.168.122.1", f"10.66.0.1{index + 1}",
                                                 self.hosts.address(index)])
        swallowed = self.hosts.run(1, ["timeout", "1", "bash", "-c", ": < /dev/tcp/10.66.0.11/1"],
                                   check=False, stderr=subprocess.DEVNULL)
        self.assertEqual(swallowed.returncode, 124)

    def test_every_rank_is_told_the_interface_that_leads_to_the_others(self):
        lines = self.output(sys.executable, "-c", WHERE)
        told = f"{self.hosts.address(0)}|eth0|=eth0|eth0 127.0.1.1"
        self.assertEqual(lines, [f"[{rank}] {told}" for rank in range(HOSTS * SLOTS)])

    def test_mpi_finds_its_way(self):
        lines = self.output(os.path.join(BIN, "c_mpi_hello"))
        self.assertEqual(len([line for line in lines if "the sum is 10, right" in line]), 4, lines)

    def test_gloo_finds_its_way(self):
        python = "/usr/bin/python3"
        if subprocess.run([python, "-c", "import torch"], check=False, stdin=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("python3-torch is not installed: gloo is not tried")
        lines = self.output(python, "-c", GLOO)
        self.assertEqual(lines, [f"[{rank}] all_reduce 4000 4" for rank in range(4)])


if __name__ == "__main__":
    promises.main(needs_root="network namespaces")
