"""A path may come to mean another namespace: a pid or a name is given again. Then nothing may be done in it."""

from __future__ import annotations

from pathlib import Path

from support.namespaces import Home, Namespace
from weft.hoststate import Link
from weft.kernel import netns as namespaces
from weft.kernel.linux import LinuxKernel
from weft.reconcile.protocol import Create


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
