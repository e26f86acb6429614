"""What is said to `nft` in its own language: chains and rules, and what has to change in one transaction with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from weft.hoststate import Key, NftChain, NftElement, Object
from weft.hoststate.firewall import chain_text, element_text, flow_device_text, flowtable_text, noun, set_text
from weft.hoststate.rules import Rule
from weft.kernel.kinds.nft_content import TABLES, Content, Delta, Whole, alike, merge
from weft.kernel.kinds.nft_wire import VERDICT

WHOLE: Key = ("nft-chain", "", "*")
"""What commands are for that concern no object by itself."""


class Step(msgspec.Struct, frozen=True):
    """Commands of the nft language, and the object they are for."""

    key: Key
    commands: tuple[str, ...]


def script(content: Content, change: Delta, desired: Mapping[Key, Object]) -> list[Step]:
    """What makes this change of `content`. Elements go before others come, since intervals must not overlap; chains are all
    declared before any rule or element, which may lead to any of them.

    A set in use cannot change its type: its table is made anew, still in one transaction. Of chains that were found only the
    marks are known: those that are as `desired` are written again, and others, which nobody wants any more, go already."""
    if not change.anew:
        return list(_steps(content, change))
    after = content.copy()
    merge(after, change)
    anew = change.anew
    chains = [_known(chain, desired) for name, chain in after.chains.items() if name[0] in anew]
    whole = Delta(
        stale=[e for e in change.stale if e.table not in anew],
        sets=[obj for obj in after.sets.values() if obj.table in anew],
        elements=[e for name, some in after.elements.items() if name[0] in anew for e in some.values()],
        flowtables=[obj for obj in after.flowtables.values() if obj.table in anew],
        devices=[d for name, some in after.devices.items() if name[0] in anew for d in some.values()],
        chains=[chain for chain in chains if all(isinstance(rule, Rule) for rule in chain.rules)],
        dead_sets=[obj for obj in change.dead_sets if obj.table not in anew],
        dead_chains=[chain for chain in change.dead_chains if chain.table not in anew],
        dead_flowtables=[obj for obj in change.dead_flowtables if obj.table not in anew],
        dead_devices=[obj for obj in change.dead_devices if obj.table not in anew],
        emptied=change.emptied,
    )
    whole.sets += (obj for obj in change.sets if obj.table not in anew)
    whole.elements += (e for e in change.elements if e.table not in anew)
    whole.flowtables += (obj for obj in change.flowtables if obj.table not in anew)
    whole.devices += (obj for obj in change.devices if obj.table not in anew)
    whole.chains += (chain for chain in change.chains if chain.table not in anew)
    rest = Content(chains={name: chain for name, chain in content.chains.items() if name[0] not in anew})
    return [*(Step(WHOLE, (f"delete table {table}",)) for table in sorted(anew, key=str)), *_steps(rest, whole)]


def _known(found: NftChain, desired: Mapping[Key, Object]) -> NftChain:
    wanted = desired.get(found.key)
    return wanted if isinstance(wanted, NftChain) and alike(found, wanted) else found


def _steps(content: Content, change: Delta) -> Iterator[Step]:
    coming: tuple[Whole, ...] = (*change.sets, *change.flowtables, *change.chains)
    touched = {obj.table for obj in coming}
    yield from (Step(WHOLE, (f"add table {table}",)) for table in TABLES if table in touched)
    dead = {(obj.table, obj.name) for obj in change.dead_sets}
    stale = (e for e in change.stale if (e.table, e.set) not in dead and e.table not in change.emptied)
    yield from (Step(obj.key, (f"delete {_element(obj)}",)) for obj in stale)
    yield from (Step(obj.key, (f"add {set_text(obj)}",)) for obj in change.sets)
    yield from (Step(obj.key, (f"delete {flow_device_text(obj)}",)) for obj in change.dead_devices)
    yield from (Step(obj.key, (f"add {flowtable_text(obj)}",)) for obj in change.flowtables)
    yield from (Step(obj.key, (f"add {flow_device_text(obj)}",)) for obj in change.devices)
    for obj in change.chains:
        yield Step(obj.key, tuple(_declare(obj, content.chains.get((obj.table, obj.name)))))
    yield from (Step(obj.key, (f"add {_element(obj)}",)) for obj in change.elements)
    yield from (Step(obj.key, tuple(_fill(obj))) for obj in change.chains)
    sets = [obj for obj in change.dead_sets if obj.table not in change.emptied]
    leading = (obj for obj in sets if obj.to == VERDICT)  # to chains that may go
    yield from (Step(obj.key, (f"flush {noun(obj)} {obj.table} {obj.name}",)) for obj in leading)
    chains = [chain for chain in change.dead_chains if chain.table not in change.emptied]
    yield from (Step(obj.key, (f"flush chain {_place(obj)}",)) for obj in chains)
    yield from (Step(obj.key, (f"delete chain {_place(obj)}",)) for obj in chains)
    yield from (Step(obj.key, (f"delete {noun(obj)} {obj.table} {obj.name}",)) for obj in sets)
    flowtables = (obj for obj in change.dead_flowtables if obj.table not in change.emptied)
    yield from (Step(obj.key, (f"delete flowtable {obj.table} {obj.name}",)) for obj in flowtables)
    yield from (Step(WHOLE, (f"delete table {table}",)) for table in change.emptied)


def _place(obj: NftChain) -> str:
    return f"{obj.table} {obj.name}"


def _element(obj: NftElement) -> str:
    return f"element {obj.table} {obj.set} {{ {element_text(obj)} }}"


def _declare(obj: NftChain, before: NftChain | None) -> Iterator[str]:
    if before is not None and before.hook != obj.hook:
        yield f"flush chain {_place(obj)}"
        yield f"delete chain {_place(obj)}"
    yield f"add {chain_text(obj)}"


def _fill(obj: NftChain) -> Iterator[str]:
    yield f"flush chain {_place(obj)}"
    yield from (f"add rule {_place(obj)} {rule.nft}" for rule in obj.rules if isinstance(rule, Rule))
