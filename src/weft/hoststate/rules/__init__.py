"""Typed rules: matches and actions, and two renderers that write them for nftables and for iptables."""

from weft.hoststate.rules.rule import MARK, FoundRule, Rule, Rules, rule

__all__ = ["MARK", "FoundRule", "Rule", "Rules", "rule"]
