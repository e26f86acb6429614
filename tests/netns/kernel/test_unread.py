"""One read that fails costs what it reads, in the namespace where it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.namespaces import Home, Namespace
from weft.base.errors import Denied, Failed
from weft.hoststate import Bridge, Link, NftSet
from weft.kernel.kinds import address
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import spaces
from weft.reconcile.protocol import Create

OWN = Link(name="weft-own", type=Bridge(), alias="weft:network/own")
HOSTS = NftSet(name="hosts", type=("ipv4_addr",))


def _raise(error: Exception) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


def test_each_part_fails_by_itself(
    netns: Home, container: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = LinuxKernel({OWN.key: OWN}, tmp_path)
    try:
        assert not kernel.apply([Create(OWN), Create(HOSTS)])
        everywhere = {"", container.path}
        reading = kernel.read({}, everywhere)
        assert not reading.unread and {OWN.key, HOSTS.key} <= reading.objects.keys()
        with monkeypatch.context() as hangs:
            hangs.setattr(kernel._nft, "read", _raise(Failed("nft has not finished in 30 s")))
            hangs.setattr(kernel._sysctls, "read", _raise(OSError(24, "Too many open files")))
            reading = kernel.read({}, everywhere)
            assert OWN.key in reading.objects
            assert [(u.ns, u.what, u.reason) for u in reading.unread if u.what == "nftables"] == [
                ("", "nftables", "nft has not finished in 30 s")
            ]
            assert any(u.covers(HOSTS.key) for u in reading.unread) and not any(
                u.covers(OWN.key) for u in reading.unread
            )
            assert ("", "sysctls") in [(u.ns, u.what) for u in reading.unread]
        with monkeypatch.context() as broken:
            broken.setattr(address, "read", _raise(Failed("netlink: what was read changed meanwhile")))
            reading = kernel.read({}, everywhere)
            assert HOSTS.key in reading.objects and {u.what for u in reading.unread} == {"devices"}
        with monkeypatch.context() as denied:
            denied.setattr(spaces.netns, "open_all", lambda paths, _: {path: Denied("no permission") for path in paths})
            reading = kernel.read({}, everywhere)
            assert [(u.ns, u.what) for u in reading.unread] == [(container.path, "all")] and not reading.gone
            assert {OWN.key, HOSTS.key} <= reading.objects.keys()
    finally:
        kernel.close()
