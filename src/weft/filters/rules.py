"""All chains of a namespace that judge packets, of nftables and of both iptables, in the order in which the kernel asks them.

Of a hook all base chains are asked, the lowest priority first. One that accepts ends only itself; one that drops, rejects,
queues or takes a packet away ends all. Those of type nat are asked for a connection's first packet only, at the place of NAT
in the hook, and until one has translated the packet (nf_hook_slow(), nf_nat_inet_fn() in the kernel).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from weft.api.dump import FiltersDump
from weft.filters.model import Action, Doubt, Seen, Translation, Verdict, Where
from weft.filters.nft.chain import BaseChain, Table
from weft.filters.remedy import completed
from weft.filters.state import Base, End, Run
from weft.filters.xt import Ipsets, legacy

CONNTRACK = -200
"""NF_IP_PRI_CONNTRACK: chains at or below it see packets before conntrack does."""
_INET = ("ip", "ip6")


class Filters:
    """Of one namespace. Rules are decoded, and sets indexed, when a packet comes to them."""

    def __init__(self, dump: FiltersDump) -> None:
        self.dump = dump

    @cached_property
    def bases(self) -> list[Base]:
        """All base chains, in order of priority. Of those with the same one, the kernel asks the one that came last first
        (nf_hook_entries_grow())."""
        ipsets = Ipsets(self.dump.ipsets)
        tables = [Table(table, ipsets) for table in self.dump.nft if not table.dormant]
        found: list[Base] = [BaseChain(table, chain) for table in tables for chain in table.dump.chains if chain.hook]
        return sorted([*reversed(found), *legacy(self.dump, ipsets)], key=lambda base: base.priority)

    def asked(self, hook: str, family: str, seen: Seen | None = None) -> list[Base]:
        """The base chains of a hook. Tables of family inet are asked for ip and ip6. At ingress and egress a chain is asked for
        the devices that it names."""
        families = (family, "inet") if family in _INET else (family,)
        if family == "netdev":
            families = ("netdev", "inet")
        return [base for base in self.bases if base.hook == hook and base.family in families and _concerns(base, seen)]

    def run(
        self,
        hook: str,
        family: str,
        seen: Seen,
        *,
        above: int | None = None,
        below: int | None = None,
        nat: bool = False,
    ) -> Verdict:
        """`hook`: "prerouting", "input", "forward", "output", "postrouting", "ingress", "egress". `family`: "ip",
        "ip6", "bridge", "netdev", "arp". Without `nat`: all chains but those of NAT, of above <= priority < below. With
        `nat`: only these, until one translates: the place of NAT is fixed, whatever their priorities."""
        run = Run(seen, family, hook)
        chosen = [
            base
            for base in self.asked(hook, family, seen)
            if base.nat is nat and (nat or _within(base.priority, above, below))
        ]
        return _asked(run, chosen)


def _concerns(base: Base, seen: Seen | None) -> bool:
    if base.hook not in ("ingress", "egress") or seen is None:
        return True
    device = seen.iif if base.hook == "ingress" else seen.oif
    return device is not None and any(_named(device.name, pattern) for pattern in base.devices)


def _named(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _within(priority: int, above: int | None, below: int | None) -> bool:
    return (above is None or priority >= above) and (below is None or priority < below)


def _asked(run: Run, bases: list[Base]) -> Verdict:
    """What comes of all of them. A doubt counts where it would have ended its chain otherwise, and where no other chain
    drops the packet for certain."""
    doubts: list[Doubt] = []
    told: tuple[End, Base] | None = None
    unsure: tuple[End, Base] | None = None
    translation: Translation | None = None
    for base in bases:
        run.tracked = base.hook not in ("prerouting", "output") or base.priority > CONNTRACK
        run.doubts.clear()
        end = base.run(run)
        translation = translation or end.translation
        if told is None or not end.policy or told[0].policy:  # a rule says more than a policy
            told = end, base
        mattering = [doubt for doubt in run.doubts if doubt[2] != _does(end)]
        if end.action in LOSING and all(action in LOSING for _, _, action in mattering):
            return _verdict(run, end.action, (end, base), translation, [])
        if mattering or end.action == "depends":
            doubts += (_doubt(run, base, *doubt) for doubt in mattering)
            unsure = unsure or (end, base)
        if translation is not None:
            break
    if unsure is not None:
        return _verdict(run, "depends", unsure, translation, doubts)
    return _verdict(run, told[0].action if told else "accept", told, translation, [])


LOSING = frozenset(("drop", "reject", "queue", "stolen"))


def _does(end: End) -> str:
    return end.translation.kind if end.translation else end.action


def _doubt(run: Run, base: Base, where: Callable[[], Where], why: str, action: str) -> Doubt:
    return Doubt(where=completed(where(), run, base.chains, stops=action in LOSING), why=why, action=action)


def _verdict(
    run: Run, action: Action, told: tuple[End, Base] | None, translation: Translation | None, doubts: list[Doubt]
) -> Verdict:
    where = None
    if told is not None:
        end, base = told
        where = completed(end.where(), run, base.chains, stops=end.action in LOSING)
    return Verdict(
        action=action,
        seen=run.seen,
        where=where,
        translation=translation,
        passed=tuple(completed(passed(), run, (), stops=False) for passed in run.passed),
        doubts=tuple(doubts),
        notrack=run.notrack,
        flowtable=run.flowtable,
        drawn=tuple(run.drawn),
    )
