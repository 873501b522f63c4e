"""torchrun on the namespaces of hosts.py, an agent a host, with the settings that serve it best here:
static rendezvous, and --monitor_interval 0.1 where 5 s is the default.

Debian's torch 1.13.1 cannot start its own torchrun on Python 3.11: iterating a flag of value 0 yields
nothing there, so "0" is no stream any more.  The entry below puts that right, and nothing else.
"""

import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration", "scripts"))

import surroundings  # noqa: E402

PYTHON = surroundings.PYTHON
PATIENCE = 600  # Seconds, for what takes ten where nobody else works.
ENTRY = """
from torch.distributed.elastic.multiprocessing.api import Std
if Std.from_str("0") is None:
    Std.from_str = classmethod(lambda kind, text: kind(int(text)))
from torch.distributed.run import main
main()
"""
# A line a write: torchrun's ranks share one stdout.
PLAIN = """
import os
os.write(1, f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}\\n".encode())
"""
REDUCE = """
import os, torch, torch.distributed
torch.distributed.init_process_group("gloo")
one = torch.ones(1)
torch.distributed.all_reduce(one)
os.write(1, f"rank {torch.distributed.get_rank()} of {int(one.item())}\\n".encode())
"""


class Torchrun:
    """Both launchers of one script, and the floor below which neither can come."""

    def __init__(self, hosts, cluster, folder, muster, pause):
        self.hosts, self.cluster, self.muster, self.pause = hosts, cluster, muster, pause
        self.folder, self.port = folder, 29600
        self.environment = {**surroundings.environment(os.path.dirname(muster)),
                            "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1",
                            "PYTHON_EXEC": PYTHON}
        for name, text in (("entry", ENTRY), ("plain", PLAIN), ("reduce", REDUCE)):
            with open(self.script(name), "w", encoding="ascii") as file:
                file.write(text)

    @staticmethod
    def missing():
        return surroundings.prepare("torch", {})

    def script(self, name):
        return os.path.join(self.folder, name + ".py")

    def _timed(self, commands):
        """Seconds until the last of them ended; and what they said."""
        time.sleep(self.pause)
        began = time.monotonic()
        running = [subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                   for command in commands]
        try:
            said = [process.communicate(timeout=PATIENCE)[0].decode(errors="replace")
                    for process in running]
        except subprocess.TimeoutExpired:
            for process in running:
                process.kill()
            raise
        took = time.monotonic() - began
        if any(process.returncode for process in running):
            raise RuntimeError("\n".join(" ".join(command) for command in commands) + "\n"
                               + "\n".join(said)[-3000:])
        return took, "\n".join(said)

    def _judged(self, commands, ranks):
        took, said = self._timed(commands)
        if said.count(f" of {2 * ranks}") != 2 * ranks:
            raise RuntimeError(f"not {2 * ranks} ranks:\n{said}")
        return took

    def ours(self, name, ranks):
        command = self.hosts.command(-1, [
            self.muster, "torchrun", "--cluster", self.cluster.folder, "--nnodes", "2",
            "--nproc-per-node", str(ranks), self.script(name)])
        return lambda: self._judged([command], ranks)

    def theirs(self, name, ranks):
        def run():
            self.port += 1  # The last one's may still be closing.
            return self._judged([self.hosts.command(index, [
                PYTHON, self.script("entry"), "--nnodes=2", f"--nproc_per_node={ranks}",
                f"--node_rank={index}", f"--master_addr={self.hosts.address(0)}",
                f"--master_port={self.port}", "--monitor_interval=0.1", self.script(name)])
                for index in range(2)], ranks)
        return run

    def imports(self, ranks):
        """`import torch` in as many processes at once."""
        return lambda: self._timed([[PYTHON, "-c", "import torch"]] * (2 * ranks))[0]
