"""Rules of policy routing. A rule stands by itself: its device need not exist, nor need its table hold anything."""

from __future__ import annotations

from weft.hoststate import PROTO, RoutingRule
from weft.reconcile.kinds.kind import Kind
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Op, Remove


def _commands(op: Op, rule: RoutingRule) -> list[str]:
    words = (
        "ip -6 rule" if rule.family == 6 else "ip rule",
        "del" if isinstance(op, Remove) else "add",
        f"priority {rule.priority} from {rule.source or 'all'}",
        f"to {rule.destination}" if rule.destination else "",
        f"fwmark {rule.mark:#x}/{rule.mask:#x}" if rule.mask else "",
        f"iif {rule.iif}" if rule.iif else "",
        f"ipproto udp dport {rule.udp_port}" if rule.udp_port else "",
        f"goto {rule.goto}" if rule.goto else f"table {rule.table}" if rule.table else "nop",
        f"protocol {rule.proto}",
    )
    return [run_in(rule.ns, join(*words))]


def _words(rest: list[str]) -> str:
    """As "100 to table 7": together with the family that is hardly ever ambiguous."""
    family, priority, to, *_ = rest
    where = f"{priority} to table {to}" if to.isdecimal() else f"{priority} {to}"
    return where + (" (IPv6)" if family == "6" else "")


ROUTING_RULE = Kind(of=RoutingRule, commands=_commands, words=_words, is_ours=lambda rule: rule.proto == PROTO)
