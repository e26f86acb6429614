"""Isolation in the real kernel: what is asked of the first packet of a connection, and what of the others."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

import pytest

from support import lab
from support.hoststates import keyed
from support.namespaces import Home, Namespace
from weft.base.net import IPNetwork
from weft.datapaths import _isolation
from weft.hoststate import Object
from weft.kernel.linux import LinuxKernel
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Reading

RED, BLUE = ip_network("10.9.1.0/24"), ip_network("10.9.2.0/24")
PORT = 8080


def pod(home: Home, name: str, subnet: IPNetwork) -> Namespace:
    inner = home.new()
    home.sh(f"ip link add {name} type veth peer name eth0 netns {inner.path}")
    home.sh(f"ip address add {subnet[1]}/24 dev {name}")
    inner.sh(f"ip address add {subnet[2]}/24 dev eth0")
    home.sh(f"ip link set {name} up")
    inner.sh("ip link set eth0 up")
    inner.sh(f"ip route add default via {subnet[1]}")
    return inner


def rules(*, open_to_each_other: bool, tracked: bool) -> Iterable[Object]:
    yield from _isolation.rules()
    yield from _isolation.ours((RED, BLUE))
    yield from _isolation.apart((RED, BLUE), lab.network("bridge"))
    for device, subnet in (("red", RED), ("blue", BLUE)):
        yield from _isolation.via(device, [subnet])
    if open_to_each_other:
        yield from _isolation.between([RED], [BLUE])
    if tracked:
        yield from _isolation.tracking()


def connect(client: Namespace, within: float) -> socket.socket:
    with client.entered():
        return socket.create_connection((str(BLUE[2]), PORT), within)


@pytest.mark.parametrize("tracked", [True, False])
def test_only_the_first_packet_is_looked_up_where_connections_are_tracked(
    netns: Home, tmp_path: Path, tracked: bool
) -> None:
    netns.sh("sysctl -qw net.ipv4.ip_forward=1")
    red, blue = pod(netns, "red", RED), pod(netns, "blue", BLUE)
    before, after = (keyed(*rules(open_to_each_other=there, tracked=tracked)) for there in (True, False))
    with ExitStack() as stack:
        kernel = LinuxKernel(before, tmp_path)
        stack.callback(kernel.close)
        assert kernel.apply(plan(before, Reading({}), {""}).ops) == []
        with blue.entered():
            server = stack.enter_context(socket.create_server((str(BLUE[2]), PORT)))
        begun = stack.enter_context(connect(red, 5))
        other = stack.enter_context(server.accept()[0])
        assert kernel.apply(plan(after, Reading(before), {""}).ops) == []
        other.settimeout(5 if tracked else 0.5)
        begun.sendall(b"more")
        if tracked:
            assert other.recv(9) == b"more"
        else:
            with pytest.raises(TimeoutError):
                other.recv(9)
        with pytest.raises(TimeoutError):
            connect(red, 0.5)
