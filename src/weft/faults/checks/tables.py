"""Tables, queues and ranges that are full, and what the kernel has counted."""

from __future__ import annotations

from collections.abc import Iterator

from weft.faults.scene import Fault, Inside, Scene

NEAR = 0.9
"""Of what there is room for: from here on it is said."""
_TCP, _UDP = 6, 17
_SUMS_WRONG = 3
_CLASHES = 100


def conntrack(scene: Scene) -> Iterator[Fault]:
    for space in scene.spaces:
        count, most = _numbers(space, "net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max")
        if most and count >= NEAR * most:
            drops = space.dump.counters.get("conntrack.drop", 0) + space.dump.counters.get("conntrack.early_drop", 0)
            yield space.fault(
                "conntrack-full",
                f"conntrack of {space.name} has {count} entries of at most {most}; {drops} packets were dropped for it",
                advice="write it to /etc/sysctl.d, if there are that many connections",
                fix=f"sysctl -w net.netfilter.nf_conntrack_max={max(4 * most, 65536)}",
            )


def clashes(scene: Scene) -> Iterator[Fault]:
    for space in scene.spaces:
        failed = space.dump.counters.get("conntrack.insert_failed", 0)
        if failed >= _CLASHES:
            yield space.fault(
                "source-ports-clash",
                f"{failed} packets of {space.name} were lost as two connections were given the same ports at once",
                advice="if lookups of names take five seconds: `options use-vc` or `single-request-reopen` in resolv.conf",
                warning=True,
            )


def ports(scene: Scene) -> Iterator[Fault]:
    for space in scene.spaces:
        words = space.dump.sysctls.get("net.ipv4.ip_local_port_range", "").split()
        if len(words) != 2:
            continue
        low, high = map(int, words)
        held = space.dump.counters.get("sockets.tcp", 0)
        if held >= NEAR * (high - low + 1):
            yield space.fault(
                "ports-exhausted",
                f"{space.name} has {held} sockets of TCP, and {high - low + 1} ports for them ({low}-{high})",
                fix=space.command("sysctl", "-w", "net.ipv4.ip_local_port_range=10240 65000"),
            )


def queues(scene: Scene) -> Iterator[Fault]:
    """The kernel lets one more wait than there is room for (sk_acceptq_is_full())."""
    for space in scene.spaces:
        for sock in space.dump.sockets or ():
            at = f"port {sock.port} in {space.name}"
            if sock.protocol == _TCP and sock.waiting > sock.room:
                yield space.fault(
                    "backlog-full",
                    f"{sock.waiting} connections to {at} wait to be accepted, of at most {sock.room + 1}",
                    advice="the program that listens there hangs, or is too slow: restart it, or give it a larger backlog",
                )
            if sock.protocol == _UDP and sock.dropped and sock.waiting >= NEAR / 2 * sock.room:
                yield space.fault(
                    "receive-buffer-full",
                    f"{sock.dropped} datagrams to {at} were dropped: nobody reads those before",
                    advice="the program that has the port hangs, or is too slow",
                )


def checksums(scene: Scene) -> Iterator[Fault]:
    for space in scene.spaces:
        wrong = sum(space.dump.counters.get(f"{name}.InCsumErrors", 0) for name in ("Tcp", "Udp"))
        if wrong >= _SUMS_WRONG:
            yield space.fault(
                "checksum-offload",
                f"{space.name} has dropped {wrong} packets for their checksum since it began",
                advice="a device on the way should compute it and does not: `ethtool -K DEV tx off` on the sender's uplink",
                warning=True,
            )


def memory(scene: Scene) -> Iterator[Fault]:
    for host in scene.hosts:
        times = host.dump.counters.get("TcpExt.TCPMemoryPressures", 0)
        if times:
            yield host.fault(
                "memory-pressure",
                f"TCP on {host.name} has run short of memory {times} times since it began",
                advice="look for sockets with full buffers (`ss -tm`); raise net.ipv4.tcp_mem if the host has memory left",
                warning=True,
            )


def _numbers(space: Inside, *names: str) -> tuple[int, ...]:
    return tuple(int(space.dump.sysctls.get(name, "0")) for name in names)
