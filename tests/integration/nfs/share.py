"""A real NFS server (nfs-ganesha) on a host of hosts.py, over a disk that can lose its power.

    with Hosts(1) as hosts, Share(hosts, folder, shim) as share:     quota="64M": on a btrfs that has one
        share.start()
        share.url()                  nfs://10.77.0.1/...; 20048 is its mountport
        share.power_cut()            kill -9, and what the disk was not told to keep is gone

The disk is a small ext4 in a file in the host's own /dev/shm, with dirsync: what NFS asks of a server,
and ganesha leaves to its disk, is that names are durable when it answers.  power_cut uses ext4's shutdown call:
dirty pages and the journal's tail are dropped, as they are when a machine loses its power; the next
mount replays what reached the disk.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time

from hosts import COOKIE

MOUNTPORT = 20048
EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2

CONFIG = """
NFS_CORE_PARAM {{ Protocols = {protocols}; NFS_Port = 2049; MNT_Port = 20048; Enable_NLM = false;
                 Enable_RQUOTA = false; Enable_UDP = false; }}
NFSv4 {{ Graceless = true; Minor_Versions = 1, 2; Lease_Lifetime = 10; RecoveryBackend = fs;
        RecoveryRoot = {folder}/recovery; Only_Numeric_Owners = true; }}
EXPORT {{ Export_Id = 1; Path = {path}; Pseudo = /export; Protocols = {protocols}; Transports = TCP;
         Access_Type = {access}; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = EVENT; }}
"""


def missing():
    """The Debian packages that are not there."""
    wanted = {"nfs-ganesha": "ganesha.nfsd", "user-mode-linux": "linux.uml", "nfs-common": "mount.nfs",
              "kmod": "modprobe", "e2fsprogs": "mkfs.ext4"}
    lacking = [package for package, program in wanted.items() if not shutil.which(program)]
    if not os.path.exists("/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so"):
        lacking.append("nfs-ganesha-vfs")
    return lacking


def wait_for(condition, seconds=30, what="the condition"):
    """What condition() returns, once it is true."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come in {seconds} s")
        time.sleep(0.01)


class Share:
    host = -1
    address = "10.77.0.1"

    def __init__(self, hosts, folder, shim, size="512M", quota=None):
        self.hosts, self.folder, self.shim = hosts, os.path.join(folder, "share"), shim
        self.path = os.path.join(self.folder, "export")
        self.log = os.path.join(self.folder, "ganesha.log")
        self.size, self.quota = size, quota
        self.server = None
        self.device = None
        self.started = 0

    def __enter__(self):
        os.makedirs(self.path)
        os.makedirs(os.path.join(self.folder, "recovery"))
        # Root is above ext4's quotas, and below those of btrfs.
        make = "mkfs.btrfs -q" if self.quota else "mkfs.ext4 -q -E lazy_itable_init=1,lazy_journal_init=1"
        self.sh(f"""
            truncate -s {self.size} /dev/shm/disk
            {make} /dev/shm/disk
            mount -o loop,dirsync /dev/shm/disk {self.path}
            mkdir {self.path}/ckpt && chmod 1777 {self.path}/ckpt""")
        if self.quota:
            self.sh(f"btrfs quota enable {self.path} && btrfs qgroup limit {self.quota} {self.path}")
        self.loop = self.sh(f"findmnt -no SOURCE {self.path}").strip()
        # Held, or the kernel would detach it between umount and mount.
        self.device = os.open(self.loop, os.O_RDONLY)
        return self

    def __exit__(self, *unused):
        self.kill()
        if self.device is not None:
            self.sh(f"umount {self.path}")
            os.close(self.device)

    def sh(self, script):
        return self.hosts.run(self.host, ["sh", "-ec", script], check=True, text=True,
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout

    def seen(self, path=""):
        """A path of the export, as this process can look at it: only look."""
        return f"/proc/{self.hosts.holders[self.host].pid}/root{self.path}/{path}"

    def url(self, folder="ckpt", **options):
        options = {"mountport": MOUNTPORT, **options}
        given = "&".join(f"{key}={value}" for key, value in options.items())
        return f"nfs://{self.address}{self.path}/{folder}?{given}"

    # ---- the server's life ----------------------------------------------------------------------

    def start(self, access="RW", protocols="3, 4"):
        config = os.path.join(self.folder, "ganesha.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(CONFIG.format(protocols=protocols, folder=self.folder, path=self.path,
                                     access=access))
        open(self.log, "w").close()
        # Its write verifier is the second that it starts in: in the same one, nobody could tell.
        wait_for(lambda: int(time.time()) > self.started)
        self.started = int(time.time())
        self.server = self.hosts.popen(
            self.host, ["env", f"LD_PRELOAD={self.shim}", "ganesha.nfsd", "-F", "-f", config, "-L",
                        self.log, "-p", os.path.join(self.folder, "ganesha.pid"), "-N", "NIV_EVENT"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            # Handles hold the disk's UUID as blkid's cache has it; that of the machine may still name
            # the last disk of this loop device, until it is two seconds old.
            env={**os.environ, **COOKIE, "BLKID_FILE": os.path.join(self.folder, "blkid.tab")})
        wait_for(self._is_up, what="ganesha")

    def _is_up(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if self.server.poll() is not None:
            raise RuntimeError("ganesha.nfsd ended:\n" + text[-2000:])
        return "NFS SERVER INITIALIZED" in text

    def kill(self):
        if self.server and self.server.poll() is None:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait()

    def pause(self):
        self.server.send_signal(signal.SIGSTOP)

    def resume(self):
        self.server.send_signal(signal.SIGCONT)

    def drop_unsynced(self):
        """With the server dead: the disk forgets what it was not told to keep."""
        folder = os.open(self.seen(), os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(folder)
        self.sh(f"umount {self.path} && mount -o dirsync {self.loop} {self.path}")

    def power_cut(self):
        self.kill()
        self.drop_unsynced()

    # ---- looking --------------------------------------------------------------------------------

    def files(self):
        """{path: size} of all files of the export."""
        found = {}
        for folder, _, names in os.walk(self.seen()):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    found[os.path.relpath(path, self.seen())] = os.stat(path).st_size
                except FileNotFoundError:
                    pass
        return found

    def wait_for_bytes(self, name, size):
        """Until a file whose path contains `name` has that many bytes; its path."""
        return wait_for(lambda: next((path for path, there in self.files().items()
                                      if name in path and there >= size), None),
                        what=f"{size} bytes in {name}")
