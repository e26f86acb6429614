"""A veth whose other end somebody else takes, as a container's engine does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.namespaces import Namespace
from weft.hoststate import Link, Veth

if TYPE_CHECKING:
    from conftest import Bench

HOST = Link(name="vh1", type=Veth("taken", "", given=True), mtu=1450, master="weft-n", alias="weft:endpoint/n/a")


def test_both_ends_are_made_here(bench: Bench, bridge: Link) -> None:
    bench.made(bridge, HOST)
    assert bench.converged(), bench.difference()
    assert "mtu 1450" in bench.netns.run("ip", "link", "show", "taken")


def test_where_the_other_end_is_does_not_matter(bench: Bench, bridge: Link, container: Namespace) -> None:
    bench.made(bridge, HOST)
    bench.netns.run("ip", "link", "set", "taken", "name", "eth0", "netns", container.path)
    assert bench.converged(), bench.difference()
    assert bench.change(HOST, HOST) == []
    assert "mtu 1450" in container.run("ip", "link", "show", "eth0")


def test_it_goes_with_this_end(bench: Bench, bridge: Link, container: Namespace) -> None:
    bench.made(bridge, HOST)
    bench.netns.run("ip", "link", "set", "taken", "name", "eth0", "netns", container.path)
    assert bench.remove(HOST) == []
    assert "eth0" not in container.run("ip", "link")


def test_a_device_of_somebody_else_s_under_its_name_is_told(bench: Bench, bridge: Link) -> None:
    bench.netns.run("ip", "link", "add", "taken", "type", "bridge")
    bench.made(bridge)
    [failure] = bench.create(HOST)
    assert "taken exists and is not Weft's" in failure.reason
