"""Network namespaces of our own. What is in one goes with it, and has to be made anew when it is."""

from __future__ import annotations

from weft.hoststate import Netns
from weft.hoststate.links import NETNS_ALIAS
from weft.reconcile.kinds.kind import Kind
from weft.reconcile.kinds.shell import name_of
from weft.reconcile.protocol import Op, Remove


def _commands(op: Op, netns: Netns) -> list[str]:
    name = name_of(netns.path)
    if isinstance(op, Remove):
        return [f"ip netns del {name}"]
    return [f"ip netns add {name}", f"ip -n {name} link set dev lo alias {NETNS_ALIAS}"]


def _clash(netns: Netns) -> str:
    return f"a network namespace {netns.path} exists and is not Weft's: rename or remove it"


NETNS = Kind(of=Netns, commands=_commands, clash=_clash, carries=True, opens=lambda netns: netns.path)
