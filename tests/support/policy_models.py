"""Policies by hypothesis: small ones that select much, so that they meet."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import strategies as st

from weft.policy.model import Peer, Policy, PortRange, Rule, Traffic, Who

LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
_SELECTORS = st.sampled_from(["", "has(a)", 'a == "x"', 'b != "y"', "!has(b)"])
SPACES = st.sampled_from(["p", "q"])
_WHO = st.builds(
    Who,
    selector=_SELECTORS,
    namespaces=st.sampled_from([None, "", 'kubernetes.io/metadata.name == "p"', "has(a)"]),
    networks=st.sampled_from([(), ("n0",), ("n1",), ("apple",)]),
)
_PEER = st.builds(Peer, who=_WHO) | st.just(Peer(cidrs=(ip_network("10.0.0.0/8"),)))
_TRAFFIC = st.builds(
    Traffic,
    protocol=st.just("tcp"),
    ports=st.sampled_from([(), ("web",), (PortRange(80, 80),), (PortRange(80, 81),), ("web", PortRange(9, 9))]),
)
_RULE = st.builds(
    Rule,
    action=st.sampled_from(["allow", "deny", "pass", "log"]),
    peers=st.lists(_PEER, max_size=2).map(tuple),
    no_peers=st.lists(_PEER, max_size=1).map(tuple),
    traffic=st.lists(_TRAFFIC, max_size=2).map(tuple),
)
_RULES = st.none() | st.lists(_RULE, max_size=2).map(tuple)
POLICY = st.builds(
    lambda name, tier, subject, ingress, egress: Policy(
        id=f"policy//{name}", kind="Policy", name=name, tier=tier, subject=subject, ingress=ingress, egress=egress
    ),
    st.sampled_from("stu"),
    st.sampled_from(["admin", "default", "baseline"]),
    _WHO,
    _RULES,
    _RULES,
)
