"""Which subnet of the registry a host takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from weft.alloc.subnets import Plan, choose
from weft.base.net import IPAddress, IPNetwork, covers
from weft.flannel.lease import Entry


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Of the node called `node`, whose address is `public`. `held`: what its containers live in already. `former`: what it
    had some time before. `others`: what other nodes hold, whatever the registry says."""

    node: str
    public: IPAddress
    held: tuple[IPNetwork, ...] = ()
    former: tuple[IPNetwork, ...] = ()
    others: tuple[IPNetwork, ...] = ()


class Choice(NamedTuple):
    """`key`: of the entry that is there already and is taken over; "" for a new one."""

    subnets: tuple[IPNetwork, ...]
    key: str = ""


def choice(plans: Sequence[Plan], wish: Wish, entries: Mapping[str, Entry]) -> Choice:
    """As flannel does it, but that a node stays where its containers are: what it holds; the entry with its address; what it
    had; one that is free. `entries`: by key. Raises Exhausted."""
    mine = {key: e for key, e in entries.items() if e.host == wish.public}
    own = [Choice(e.subnets, key) for key, e in mine.items() if e.subnets == wish.held]
    if own:
        return own[0]
    taken = [subnet for entry in entries.values() for subnet in entry.subnets]
    taken += wish.others
    if wish.held and _free(wish.held, taken):
        return Choice(wish.held)
    for key, entry in mine.items():
        if fits(plans, entry.subnets) and _free(entry.subnets, wish.others):
            return Choice(entry.subnets, key)
    if fits(plans, wish.former) and _free(wish.former, taken):
        return Choice(wish.former)
    return Choice(tuple(choose(plan, wish.node, taken) for plan in plans))


def fits(plans: Sequence[Plan], subnets: Sequence[IPNetwork]) -> bool:
    """Whether it is one of those that nodes get: one of each family."""
    if len(plans) != len(subnets):
        return False
    return all(_is_candidate(plan, subnet) for plan, subnet in zip(plans, subnets, strict=True))


def _is_candidate(plan: Plan, subnet: IPNetwork) -> bool:
    return subnet.version == plan.whole.version and (
        subnet.prefixlen == plan.node_prefix
        and (span := plan.span(subnet)) is not None
        and span[0] == span[1]
        and plan.candidate(span[0]) == subnet
    )


def _free(subnets: Iterable[IPNetwork], taken: Iterable[IPNetwork]) -> bool:
    listed = list(taken)
    return not any(covers(a, b) or covers(b, a) for a in subnets for b in listed)
