"""A private Slurm over the namespaces of hosts.py: munged, slurmctld in the head, a slurmd a host."""

import os
import shutil
import signal
import subprocess
import time

CONF = """ClusterName=peers
SlurmctldHost=muster-head(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={d}/munge.sock
SlurmctldPort=16817
SlurmctldPidFile={d}/slurmctld.pid
SlurmdPidFile={d}/slurmd.%n.pid
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/spool.%n
SlurmctldLogFile={d}/slurmctld.log
SlurmdLogFile={d}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
"""


class Slurm:
    def __init__(self, hosts, folder):
        self.hosts = hosts
        self.folder = os.path.join(folder, "slurm")
        self.environment = {"SLURM_CONF": os.path.join(self.folder, "slurm.conf")}

    @staticmethod
    def installed():
        path = "/usr/sbin:/usr/bin"
        return all(shutil.which(name, path=path)
                   for name in ("munged", "slurmctld", "slurmd", "srun"))

    def __enter__(self):
        d = self.folder
        for name in ("", "state", "spool.sn0", "spool.sn1"):
            os.makedirs(os.path.join(d, name), exist_ok=True)
        os.chmod(d, 0o755)
        with open(os.path.join(d, "key"), "wb") as file:
            file.write(os.urandom(1024))
        os.chmod(os.path.join(d, "key"), 0o600)
        conf = CONF.format(d=d)
        for index in range(2):
            conf += (f"NodeName=sn{index} NodeHostname={self.hosts.name(index)} "
                     f"NodeAddr={self.hosts.address(index)} Port=16818 CPUs=8 RealMemory=8000\n")
        conf += "PartitionName=p Nodes=sn[0-1] Default=YES MaxTime=INFINITE State=UP\n"
        with open(self.environment["SLURM_CONF"], "w", encoding="ascii") as file:
            file.write(conf)
        self._run(-1, ["munged", "--force", f"--key-file={d}/key", f"--socket={d}/munge.sock",
                       f"--pid-file={d}/munged.pid", f"--log-file={d}/munged.log",
                       f"--seed-file={d}/seed"])
        self._run(-1, ["slurmctld", "-c"])
        for index in range(2):
            self._run(index, ["slurmd", "-N", f"sn{index}"])
        for _ in range(100):
            seen = self._run(-1, ["sinfo", "-h", "-o", "%t %D"], check=False)
            if seen.stdout.decode().strip() == "idle 2":
                return self
            time.sleep(0.2)
        raise RuntimeError("Slurm did not come up: see " + d)

    def _run(self, index, command, check=True):
        return self.hosts.run(index, command, check=check, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, **self.environment,
                                   "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def __exit__(self, *unused):
        for name in ("slurmd.sn0.pid", "slurmd.sn1.pid", "slurmctld.pid", "munged.pid"):
            path = os.path.join(self.folder, name)
            if os.path.exists(path):
                with open(path, encoding="ascii") as file:
                    pid = int(file.read())
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
