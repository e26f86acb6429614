"""What chains have counted is told of the rules of policies that they came of."""

from __future__ import annotations

from support.policy_worlds import IDENTITIES, world
from weft.policy.build import program
from weft.policy.counting import Count, tally
from weft.policy.model import Peer, Policy, PortRange, Rule, Traffic, Who
from weft.policy.program import Chain
from weft.policy.render import nft
from weft.policy.render.iptables import renderer

TEN = tuple(
    Rule(
        action="allow",
        peers=(Peer(who=Who(selector=f"pod == 'p{n}'")),),
        traffic=(Traffic(protocol="tcp", ports=(PortRange(n, n),)),),
    )
    for n in range(1, 11)
)


def chain(*rules: Rule) -> Chain:
    said = Policy(id="policy//p", kind="Policy", name="p", subject=Who(), ingress=rules)
    (found,) = program(IDENTITIES[0], world(said).stack(IDENTITIES[0], "ingress"), "ingress", None).chains
    return found


def told(found: dict[object, Count]) -> dict[tuple[str, int], int]:
    return {(o.action, o.index): c.packets for o, c in found.items() if c.packets}  # type: ignore[attr-defined]


def test_each_rule_is_counted_over_all_namespaces() -> None:
    one = chain(Rule(action="log"), Rule(action="allow"))
    counts = {one.name: [Count(n, 10 * n) for n in range(len(one.lines))]}
    found = tally([one], nft.counted, [counts, counts, {}])
    assert told(found) == {("midway", 1): 2, ("log", 0): 4, ("allow", 1): 6, ("deny", 0): 8}
    assert found[one.lines[-1].origin] == Count(8, 80)


def test_what_is_not_there_has_counted_nothing() -> None:
    one = chain(Rule(action="allow"))
    assert set(tally([one], nft.counted, [{one.name: [Count(1, 1)]}]).values()) == {Count(1, 1), Count()}
    assert set(tally([one], nft.counted, []).values()) == {Count()}


def test_lines_that_are_looked_up_count_for_their_rule() -> None:
    one = chain(*TEN)
    (lookup,) = one.lookups
    counts = {one.counting(n): [Count(n, 0)] for n in lookup.counting}
    assert sum(told(tally([one], nft.counted, [counts])).values()) == sum(lookup.counting)


def test_of_iptables_both_families_are_added() -> None:
    one = chain(Rule(action="allow"))
    ask = renderer("nft")
    there = {name for name, _, _ in ask.counted(one)}
    assert len(there) == 2
    found = tally([one], ask.counted, [{name: [Count(1, 20)] * len(one.lines) for name in there}])
    assert found[one.lines[-1].origin] == Count(2, 40)
