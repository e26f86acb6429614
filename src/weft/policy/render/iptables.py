"""Policy by iptables and ipset, for hosts where all rules are kept there.

    FORWARD          its first rule leads to WEFT-POLICY
    WEFT-POLICY      what belongs to a connection that was allowed goes back to FORWARD; the first packet of one asks
    WEFT-from        by the source's address, in a tree of chains
    WEFT-po-…        the sender's egress: back where it is allowed
    WEFT-to          by the destination's address, likewise
    WEFT-pi-…        the receiver's ingress

What is allowed at both ends goes on in FORWARD, where all is as it was: others' rules see
the packet as if there were no policy.
Sets are called `weft-p4-…`, and hold the same as those of nftables.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Set
from typing import Any

import msgspec

from weft.base.net import FAMILIES, Family, IPAddress, family
from weft.hoststate import (
    HOST,
    Ipset,
    IpsetElement,
    IptablesChain,
    IptablesElement,
    IptablesMap,
    Key,
    Object,
)
from weft.hoststate.iptables import Backend
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import COUNTER, DROP, RETURN, Action, Dispatch, Jump, Reject
from weft.hoststate.rules.iptables import CHAIN_PREFIX, SET_PREFIX
from weft.hoststate.rules.matches import CT_STATE, DADDR, L4PROTO, SADDR, Limit, Match, field
from weft.policy.model import Direction
from weft.policy.program import Chain, Lookup, SetKind, SetSpec, Use
from weft.policy.render.marks import CUT, NEIGHBOURS

TABLE, ENTRY, BALANCED = "filter", f"{CHAIN_PREFIX}POLICY", f"{CHAIN_PREFIX}BALANCED"
_CT_MARK = field("ct mark")
_IS_CUT, _IS_NOT = _CT_MARK.is_(f"{CUT:#x}/{CUT:#x}"), _CT_MARK.is_(f"0x0/{CUT:#x}")
_MAPS: dict[Direction, str] = {"egress": "from", "ingress": "to"}
_TYPES: dict[SetKind, str] = {"addresses": "hash:ip", "prefixes": "hash:net", "named-ports": "hash:ip,port"}
_HALVES = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
"""A set of ipset takes no prefix of length 0."""
_OF_FAMILY: dict[str, Family] = {"ip": 4, "icmp": 4, "ip6": 6, "icmpv6": 6}
_NFPROTO = "meta nfproto"


class Iptables:
    """`weft.policy.render.Renderer` with one of iptables' back ends."""

    def __init__(self, backend: Backend, families: tuple[Family, ...] = FAMILIES) -> None:
        self._backend, self._families = backend, families

    def base(self, ns: str) -> Iterator[Object]:
        for fam in self._families:
            where = self._where(fam, ns)
            yield IptablesMap(**where, name="from", end="source")
            yield IptablesMap(**where, name="to", end="destination")
            yield IptablesChain(**where, name=ENTRY, parent="FORWARD", first=True, rules=_entry(fam))
            if ns != HOST:  # what IPVS sends on to members, as in `weft.policy.render.nft`
                yield IptablesChain(**where, name=BALANCED, parent="OUTPUT", first=True, rules=_entry(fam))

    def chain(self, found: Chain, ns: str) -> Iterator[Object]:
        for fam in self._families:
            yield IptablesChain(
                **self._where(fam, ns),
                name=CHAIN_PREFIX + found.name,
                rules=tuple(said for _, said in _rules(found, fam)),
            )

    def looked_up(self, _found: Chain, _lookup: Lookup, _use: Use, _address: IPAddress, _ns: str) -> Iterator[Object]:
        """All lines are tried: a set of ipset leads nowhere, so each would not count for itself."""
        yield from ()

    def counted(self, found: Chain) -> Iterator[tuple[str, int, int]]:
        """Of each family, which is told behind the chain's name: "WEFT-pi-…/4"."""
        for fam in self._families:
            for place, (n, _) in enumerate(_rules(found, fam)):
                yield f"{CHAIN_PREFIX}{found.name}/{fam}", place, n

    def table_set(self, spec: SetSpec, ns: str) -> Iterator[Object]:
        for fam in self._families:
            yield Ipset(name=SET_PREFIX + spec.name(fam), type=_TYPES[spec.kind], family=fam, ns=ns)

    def element(self, spec: SetSpec, fam: Family, value: str, ns: str) -> Iterator[Object]:
        if fam not in self._families:
            return
        address, *port = value.split(" . ")
        for part in _HALVES.get(address, (address,)):
            whole = f"{part},{':'.join(port)}" if port else part
            yield IpsetElement(set=SET_PREFIX + spec.name(fam), value=whole, ns=ns)

    def dispatch(self, address: IPAddress, direction: Direction, to: Chain, ns: str) -> Iterator[Object]:
        if (fam := family(address)) in self._families:
            yield IptablesElement(
                **self._where(fam, ns),
                map=_MAPS[direction],
                end="source" if direction == "egress" else "destination",
                address=str(address),
                to=CHAIN_PREFIX + to.name,
            )

    def itself(self, _address: IPAddress, _ns: str) -> Iterator[Object]:
        """Maps of iptables lead what comes back to its sender nowhere."""
        yield from ()

    def keys(self, address: IPAddress, direction: Direction, ns: str) -> Iterator[Key]:
        if (fam := family(address)) in self._families:
            where = (ns, self._backend, str(fam), TABLE)
            yield ("iptables-chain", *where, ENTRY)
            yield ("iptables-element", *where, _MAPS[direction], str(address))

    def _where(self, fam: Family, ns: str) -> dict[str, Any]:
        return {"backend": self._backend, "family": fam, "table": TABLE, "ns": ns}


@functools.cache
def renderer(backend: Backend, families: tuple[Family, ...] = FAMILIES) -> Iptables:
    return Iptables(backend, families)


def backend(in_use: Set[tuple[int, str]]) -> Backend:
    """That of the two which this host's other rules are in; nft where there are none, or some in both."""
    return "legacy" if {name for _, name in in_use} == {"legacy"} else "nft"


def _entry(fam: Family) -> tuple[Rule, ...]:
    neighbours = NEIGHBOURS if fam == 6 else ()
    return (
        rule(CT_STATE.is_("established", "related"), _IS_NOT, RETURN),
        rule(_IS_CUT, L4PROTO.is_("tcp"), COUNTER, Reject("tcp-reset")),
        rule(_IS_CUT, COUNTER, DROP),
        *(rule(field("icmpv6 type").is_(kind), RETURN) for kind in neighbours),
        rule(Dispatch(SADDR[fam], "from")),
        rule(Dispatch(DADDR[fam], "to")),
    )


def _rules(found: Chain, fam: Family) -> Iterator[tuple[int, Rule]]:
    """The lines of a chain that packets of this family can fit, each with its number."""
    for n, line in enumerate(found.lines):
        if (matches := _matches(line.rule.matches, fam)) is not None:
            yield n, Rule(matches, tuple(map(_renamed, line.rule.actions)))


def _matches(matches: Iterable[Match | Limit], fam: Family) -> tuple[Match | Limit, ...] | None:
    """Without what is said of the family; None where it is another one."""
    kept: list[Match | Limit] = []
    for it in matches:
        if isinstance(it, Match):
            if it.fields == (_NFPROTO,):
                if (f"ipv{fam}" in it.values) is it.negated:
                    return None
                continue
            if any(_OF_FAMILY.get(name.partition(" ")[0], fam) != fam for name in it.fields):
                return None
        kept.append(it)
    return tuple(kept)


def _renamed(action: Action) -> Action:
    """Chains have other names than in nftables."""
    return msgspec.structs.replace(action, chain=CHAIN_PREFIX + action.chain) if isinstance(action, Jump) else action
