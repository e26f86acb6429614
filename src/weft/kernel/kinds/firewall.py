"""The kinds of rules: what `nft`, `iptables` and `ipset` read and write, as kinds.

A namespace is asked for rules where there is something to see: where some are wanted, or were made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from weft.base.errors import WeftError
from weft.kernel.guarding import put_off
from weft.kernel.kinds import ipset
from weft.kernel.kinds.ipset import Ipsets
from weft.kernel.kinds.iptables import Iptables
from weft.kernel.kinds.kind import Kind, Part, Phase
from weft.kernel.kinds.nft import Nft
from weft.kernel.plumbing import netns
from weft.reconcile.protocol import Change, Failure, Op, Remove

Apply = Callable[[str, Sequence[Op]], Sequence[Failure]]


def of_nft(nft: Nft, ruled: set[str]) -> tuple[Kind, ...]:
    """`ruled`: the namespaces where such rules were made; kept up to date here."""
    part = Part("nftables", lambda ns, wanted: nft.read(ns) if wanted or ns in ruled else {})
    phase = Phase("nft", lambda _, ops: _apply(nft.apply, ruled, ops), put_off)
    late = Phase("nft devices", lambda _, ops: _apply(nft.apply, ruled, ops))  # after the links that they are
    names = "nft-set", "nft-element", "nft-flowtable", "nft-chain"
    rules = (Kind(name=name, phase=phase, part=part) for name in names)
    return (*rules, Kind(name="nft-flow-device", phase=late, part=part))


def of_iptables(iptables: Iptables, ruled: set[str]) -> tuple[Kind, ...]:
    part = Part("iptables", lambda ns, wanted: iptables.read(ns, wanted) if wanted or ns in ruled else {})
    phase = Phase("iptables", lambda _, ops: _apply(iptables.apply, ruled, ops))
    names = ("iptables-map", "iptables-chain", "iptables-element")
    return tuple(Kind(name=name, phase=phase, part=part) for name in names)


def of_ipset(ipsets: Ipsets, ruled: set[str]) -> tuple[Kind, ...]:
    part = Part("ipset", lambda ns, wanted: ipsets.read(ns) if wanted or ns in ruled else {})
    phase = Phase("ipset", lambda _, ops: _apply(ipsets.apply, ruled, ops), ipset.put_off)
    return tuple(Kind(name=name, phase=phase, part=part) for name in ("ipset", "ipset-element"))


def _apply(apply: Apply, ruled: set[str], ops: Sequence[Op]) -> Iterator[Failure]:
    groups: dict[str, list[Op]] = {}
    for op in ops:
        groups.setdefault((op.new if isinstance(op, Change) else op.obj).ns, []).append(op)
    for ns, group in groups.items():
        ruled.add(ns)
        failures = apply(ns, group)
        yield from _unless_gone(group, failures)
        if failures and ns and not _exists(ns):
            ruled.discard(ns)


def _exists(ns: str) -> bool:
    try:
        return netns.exists(ns)
    except WeftError:
        return True


def _unless_gone(ops: Sequence[Op], failures: Sequence[Failure]) -> Iterator[Failure]:
    """In a namespace that has ended there is nothing left to remove."""
    removals = {op.obj.key for op in ops if isinstance(op, Remove)} if failures else set()
    return (failure for failure in failures if failure.key not in removals or _exists(failure.key[1]))
