#!/bin/bash
# The init of guest.py's machine: mounts, network, NFS modules, then the folder's script.sh.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LANG=C.UTF-8
mount -t proc proc /proc
grep -q 'User Mode Linux' /proc/cpuinfo || { echo "guest_init.sh: this is no user-mode Linux" >&2; exit 1; }
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mount -t tmpfs tmpfs /tmp
mkdir -p /mnt/share /mnt/out /run/lib/modules
ln -s "/usr/lib/uml/modules/$(uname -r)" "/run/lib/modules/$(uname -r)"
mount -t hostfs -o "$MUSTER_GUEST_FOLDER" none /mnt/out
ip link set lo up
ip addr add "$MUSTER_GUEST_NET.2/24" dev vec0
ip link set vec0 up
ip route add default via "$MUSTER_GUEST_NET.1"
modprobe -d /run nfsv4
modprobe -d /run nfsv3
bash /mnt/out/script.sh >/mnt/out/output 2>&1
echo $? >/mnt/out/status.new
mv /mnt/out/status.new /mnt/out/status
echo o >/proc/sysrq-trigger
sleep 30
