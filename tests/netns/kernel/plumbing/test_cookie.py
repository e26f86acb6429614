"""A path may come to mean another namespace: a pid or a name is given again. Then nothing may be done in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import lab
from support.namespaces import Home, Namespace
from weft.base.errors import Invalid
from weft.containers import find as containers
from weft.endpoints import passing
from weft.hoststate import Bridge, Link
from weft.hoststate.links import NETNS_ALIAS
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import netns as namespaces
from weft.reconcile.protocol import Create, Remove


def test_another_namespace_at_the_path_counts_as_gone(
    netns: Home, container: Namespace, pair: tuple[Link, Link], bridge: Link, tmp_path: Path
) -> None:
    meant = namespaces.cookie(container.path)
    cookies = {container.path: meant}
    kernel = LinuxKernel({}, tmp_path, lambda path: cookies.get(path, 0))
    try:
        assert kernel.read({}, {container.path}).gone == frozenset()
        cookies[container.path] = meant + 1
        assert kernel.read({}, {container.path}).gone == {container.path}
        failures = kernel.apply([Create(bridge), *map(Create, pair)])
        assert {f.key for f in failures} == {link.key for link in pair}
        assert "another one is there now" in failures[0].reason
        assert "eth0" not in container.run("ip", "-o", "link")
    finally:
        kernel.close()


def test_a_path_that_becomes_the_hosts_or_anothers_is_gone_and_nothing_there_is_taken_for_a_stray(
    netns: Home, container: Namespace, tmp_path: Path
) -> None:
    """A pid that is given again: the last endpoint at a path is gone, and what it left is to be cleared away."""
    netns.sh("ip link add weft-own type bridge")
    netns.sh("ip link set weft-own alias weft:network/own")
    path = tmp_path / "pid"
    path.symlink_to(container.path)
    cookies = {str(path): namespaces.cookie(container.path)}
    kernel = LinuxKernel({}, tmp_path, lambda path: cookies.get(path, 0))
    try:
        assert not kernel.read({}, {str(path)}).gone
        cookies.clear()
        for other in ("/proc/thread-self/ns/net", netns.path, netns.new().path):
            path.unlink()
            path.symlink_to(other)
            reading = kernel.read({}, {str(path)})
            assert reading.gone == {str(path)} and not reading.objects
            assert not kernel.apply([Remove(Link(name="weft-own", type=Bridge(), ns=str(path)))])
        assert netns.json("ip", "-j", "link", "show", "weft-own")
    finally:
        kernel.close()


def test_what_is_no_containers_namespace_is_refused(netns: Home) -> None:
    network = lab.network("bridge")
    for reference in (str(os.getpid()), "/proc/self/ns/net", "/proc/thread-self/ns/net", netns.path):
        with pytest.raises(Invalid, match=f"^{reference} is in the host's own network namespace, which Weft does not"):
            passing.check_place(reference, containers.find(reference), network)
        passing.check_place(reference, containers.find(reference), lab.network("host", families=()))
    own = netns.new()
    with pytest.raises(Invalid, match=f"^{own.path} has a network namespace of its own, and driver host is for"):
        passing.check_place(own.path, containers.find(own.path), lab.network("host", families=()))
    own.run("ip", "link", "set", "lo", "alias", NETNS_ALIAS)
    with pytest.raises(Invalid, match=f"^{own.path} is a network namespace of Weft's own: attach a container's"):
        containers.find(own.path)
