#!/usr/bin/env bash
# The first process of a lab, pid 1 of its pid namespace: all of the lab lives below it and ends with it.
#
# usage: unshare [--user --map-root-user] --net --mount --uts --pid --fork bash init.sh LABDIR
# stdin: a pipe held by `weft lab up`. A line on it means that the lab is complete and stays; its end before that
#        means that `weft lab up` is dead, so the half-made lab goes too.
# stdout: this process's pid as the world outside sees it, once the mounts stand.
set -eu

read -r outer _ </proc/self/stat # /proc is still the outside's here
mount -t proc proc /proc

# Every host gets a /var/lib/weft of its own; the machine may have none and must not get one: a /var/lib of links.
mount -t tmpfs -o mode=755 weft-lab /run
mkdir /run/lib
mount --rbind /var/lib /run/lib
mount -t tmpfs -o mode=755 weft-lab /var/lib
mkdir /var/lib/.machine /var/lib/weft
mount --move /run/lib /var/lib/.machine
shopt -s nullglob
for path in /var/lib/.machine/*; do
    [ "${path##*/}" = weft ] || links+=(".machine/${path##*/}")
done
[ -z "${links+x}" ] || ln -s -t /var/lib "${links[@]}"
# Agents in the lab do not read the machine's own configuration.
[ ! -d /etc/weft ] || mount -t tmpfs -o mode=755 weft-lab /etc/weft

# The bridges that play the segments need no addresses.
for scope in all default; do
    [ ! -d /proc/sys/net/ipv6 ] || echo 1 >"/proc/sys/net/ipv6/conf/$scope/disable_ipv6"
done

echo "$outer"
exec >/dev/null 2>&1
read -r _ # fails, and so ends the lab, when the pipe's other end is gone
exec </dev/null
sleep infinity &
wait # bash reaps whatever is orphaned in here
