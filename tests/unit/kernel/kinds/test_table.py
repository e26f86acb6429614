"""The two halves of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from weft.hoststate.objects import KernelObject
from weft.kernel.kinds.ipset import Ipsets
from weft.kernel.kinds.iptables import Iptables
from weft.kernel.kinds.kind import Kind
from weft.kernel.kinds.nft import Nft
from weft.kernel.kinds.sysctl import Sysctls
from weft.kernel.kinds.table import Adapters, kinds
from weft.reconcile.kinds.table import KINDS


def on_linux(folder: Path) -> dict[str, Kind]:
    nft, iptables = Nft(lambda _pid: None, {}), Iptables(lambda _pid: None)
    return kinds(Adapters(nft, iptables, Sysctls(folder), folder, set(), Ipsets()))


def test_a_kind_has_both_halves_and_is_an_object(tmp_path: Path) -> None:
    assert on_linux(tmp_path).keys() == KINDS.keys() == {of.kind for of in get_args(KernelObject)}
    assert {kind.of for kind in KINDS.values()} == set(get_args(KernelObject))


def test_links_are_read_before_what_stands_on_them(tmp_path: Path) -> None:
    """FDB entries carry no mark: ours are those on links of ours, which have to be known by then."""
    names = list(on_linux(tmp_path))
    assert all(names.index("link") < names.index(name) for name in ("fdb", "qdisc", "address"))


def test_the_kernel_tells_of_every_kind_that_is_said_to_be_told(tmp_path: Path) -> None:
    """FDB entries come as neighbours; all other kinds hear messages of their own, and are in a group that these come by."""
    heard = {name for name, kind in on_linux(tmp_path).items() if kind.hears and kind.groups}
    assert {name for name, kind in KINDS.items() if kind.told == "each"} - {"fdb"} <= heard
