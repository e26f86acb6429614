"""Rules of iptables: maps, chains, and the elements of maps.

A chain goes with the elements that lead to it, in one transaction, as in nftables: so elements name no chains."""

from __future__ import annotations

import shlex

from weft.hoststate import IptablesChain, IptablesElement, IptablesMap
from weft.hoststate.firewall import same_rules
from weft.hoststate.rules.iptables import CHAIN_PREFIX
from weft.reconcile.kinds.firewall import takes
from weft.reconcile.kinds.kind import Kind, within
from weft.reconcile.kinds.shell import run_in
from weft.reconcile.protocol import Change, Create, Op, Remove

# -- commands ----------------------------------------------------------------------------------------------------------


def _tool(obj: IptablesChain | IptablesMap | IptablesElement) -> str:
    return f"{'iptables' if obj.family == 4 else 'ip6tables'}-{obj.backend}"


def _unhang(chain: IptablesChain) -> list[str]:
    return [f"-D {chain.parent} -j {chain.name}"] if chain.parent else []


def _chain(op: Op, obj: IptablesChain) -> list[str]:
    tool = _tool(obj)
    call = f"{tool} -w -t {obj.table}"
    jump = f"-j {obj.name}"
    rules = [f"-A {obj.name} {line}" for line in obj.lines]
    match op:
        case Create():
            lines = [f"-N {obj.name}", *rules, *([f"-I {obj.parent} 1 {jump}"] if obj.parent else [])]
        case Remove():
            lines = [*_unhang(obj), f"-F {obj.name}", f"-X {obj.name}"]
        case Change(old=old):
            hang = []
            if isinstance(old, IptablesChain) and old.parent != obj.parent:
                hang = [*_unhang(old), *([f"-I {obj.parent} 1 {jump}"] if obj.parent else [])]
            table = [f"*{obj.table}", f":{obj.name} - [0:0]", *rules, *hang, "COMMIT"]
            given = " ".join(map(shlex.quote, table))
            return [f"printf '%s\\n' {given} | " + run_in(obj.ns, f"{tool}-restore -w --noflush")]
    return [run_in(obj.ns, f"{call} {line}") for line in lines]


def _map(op: Op, obj: IptablesMap) -> list[str]:
    """Its chain only: in commands it is a list of addresses, not a tree, and works all the same."""
    name = f"{CHAIN_PREFIX}{obj.name}"
    lines = [f"-F {name}", f"-X {name}"] if isinstance(op, Remove) else [f"-N {name}"]
    return [run_in(obj.ns, f"{_tool(obj)} -w -t {obj.table} {line}") for line in lines]


def _element(op: Op, obj: IptablesElement) -> list[str]:
    name, address = f"{CHAIN_PREFIX}{obj.map}", obj.address

    def rules(to: str) -> list[str]:
        itself = f"{name} -s {address} -d {address} -m conntrack --ctstate DNAT -j RETURN"
        return [itself, f"{name} {'-s' if obj.end == 'source' else '-d'} {address} -g {to}"]

    old = [op.old] if isinstance(op, Change) else [op.obj] if isinstance(op, Remove) else []
    lines = [f"-A {line}" for line in rules(obj.to)] if not isinstance(op, Remove) else []
    lines += [f"-D {line}" for it in old if isinstance(it, IptablesElement) for line in rules(it.to)]
    return [run_in(obj.ns, f"{_tool(obj)} -w -t {obj.table} {line}") for line in lines]


MAP = Kind(
    of=IptablesMap,
    commands=_map,
    carries=True,
    in_place=lambda _found, _wanted: False,
    told="namespace",
    refuses=takes,
)
CHAIN = Kind(
    of=IptablesChain,
    commands=_chain,
    names=lambda chain: chain.jumps | chain.sets,
    fits=same_rules,
    told="namespace",
    refuses=takes,
)
ELEMENT = Kind(
    of=IptablesElement,
    commands=_element,
    hosts=lambda element: (*within(element), element.holder),
    told="namespace",
    refuses=takes,
)
