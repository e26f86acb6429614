"""Pods around a router, which the test is in: three namespaces with both families, and a prober in each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.namespaces import Home
from support.probing import COMMAND, Probers

NAMES = ("a", "b", "c")
ADDRESSES = {4: {n: f"10.9.{i}.2" for i, n in enumerate(NAMES)}, 6: {n: f"fd09:{i}::2" for i, n in enumerate(NAMES)}}


@contextmanager
def routed_pods(home: Home) -> Iterator[Probers]:
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        home.sh(f"sysctl -qw {name.replace('/', '.')}=1")
    with Probers() as probers:
        for index, name in enumerate(NAMES):
            inner = home.new()
            home.sh(f"ip link add v{name} type veth peer name eth0 netns {inner.path}")
            for family, net in ((4, f"10.9.{index}."), (6, f"fd09:{index}::")):
                bits = 24 if family == 4 else 64
                nodad = () if family == 4 else ("nodad",)
                home.run("ip", "addr", "add", f"{net}1/{bits}", "dev", f"v{name}", *nodad)
                inner.run("ip", "addr", "add", f"{net}2/{bits}", "dev", "eth0", *nodad)
            home.sh(f"ip link set v{name} up")
            inner.sh("ip link set eth0 up")
            inner.sh(f"ip route add default via 10.9.{index}.1")
            inner.sh(f"ip -6 route add default via fd09:{index}::1")
            probers.start(name, lambda path=inner.path: _popen(path))  # type: ignore[misc] # mypy infers no type for the default
        probers.ready()
        yield probers


def _popen(path: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*COMMAND, path], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
