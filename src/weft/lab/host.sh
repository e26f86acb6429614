#!/usr/bin/env bash
# Holds the namespaces of one host, the router or `outside`; runs below init.sh.
#
# usage: unshare --net --mount --uts bash host.sh LABDIR NAME FORWARDING(0|1)
# stdout: "NAME PID" in the lab's pid namespace, once everything but the links stands.
set -eu
labdir=$1 name=$2 forwarding=$3
own=$labdir/hosts/$name

mount -t tmpfs -o mode=755,nosuid,nodev weft-lab /run
mkdir -p /run/netns /run/lock /run/weft /run/cgroup
mount --bind "$own/run-weft" /run/weft
mount --bind "$own/var" /var/lib/weft
# A sysfs of this network namespace, with the control groups kept.
mount --rbind /sys/fs/cgroup /run/cgroup
mount -t sysfs sysfs /sys
mount --move /run/cgroup /sys/fs/cgroup
rmdir /run/cgroup
hostname "$name"
# An /etc of its own over the machine's: what is written there stays in the host. Where the kernel cannot do that, it is the
# machine's.
mkdir -p /run/weft-lab/etc /run/weft-lab/work
mount -t overlay weft-lab -o lowerdir=/etc,upperdir=/run/weft-lab/etc,workdir=/run/weft-lab/work /etc 2>/dev/null || :

# A new namespace copies some of these from the machine; a lab is the same on every machine.
cd /proc/sys/net
for scope in all default; do
    echo "$forwarding" >"ipv4/conf/$scope/forwarding"
    echo 0 >"ipv4/conf/$scope/rp_filter"
    echo 0 >"ipv6/conf/$scope/disable_ipv6"
    echo 1 >"ipv6/conf/$scope/accept_ra"
    echo "$forwarding" >"ipv6/conf/$scope/forwarding"
done
ip link set lo up

echo "$name $$"
cd /
exec sleep infinity </dev/null >/dev/null 2>&1
