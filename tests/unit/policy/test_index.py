"""What the index makes of policies for the endpoints of this host."""

from __future__ import annotations

from ipaddress import ip_address

from weft.policy.index import Index, Local
from weft.policy.model import Identity, Policy, Who
from weft.policy.world import NO_NETWORK, World

KEY = "blue", "1"


def index(policy: Policy, network: str = "blue") -> Index:
    found = Index(lambda _networks, name: (name,))
    found.learn(World([policy]))
    own = Identity(id="1", name="web", network=network, node="here", addresses=(ip_address("10.0.0.1"),))
    found.put_local((network, "1"), Local(own, ("",)))
    return found


def test_what_no_policy_speaks_of_begins_at_its_beginning_too() -> None:
    """Else the server's answers, of a connection that is not allowed, would pass as the beginning of one of its own."""
    found = index(Policy(id="policy//p", kind="Policy", name="p", subject=Who(), ingress=()))
    assert found.program(KEY, "ingress").asks
    out = found.program(KEY, "egress")
    assert not out.asks
    assert [line.origin.action for line in out.chains[0].lines] == ["midway", "midway"]


def test_where_no_policy_speaks_nothing_is_asked() -> None:
    found = index(Policy(id="policy//p", kind="Policy", name="p", subject=Who(networks=("red",)), ingress=()))
    assert not list(found.programs())


def test_a_hosts_other_direction_is_left_alone() -> None:
    found = index(Policy(id="policy//p", kind="Policy", name="p", hosts="all()", ingress=()), NO_NETWORK)
    assert found.program((NO_NETWORK, "1"), "ingress").asks
    assert found.program((NO_NETWORK, "1"), "egress").chains == ()
