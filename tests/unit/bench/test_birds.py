from __future__ import annotations

from bench import birds, learn, reflect
from bench.failover import _lost


def test_the_cluster_is_one_that_weft_takes() -> None:
    """The reflector has a session with each, a client with the reflector only; no block is anybody else's."""
    model = birds.cluster(reflect._nodes(50), 20)
    reflector, client = (birds.planned(n, model) for n in (reflect.REFLECTOR, reflect.CLIENT))
    assert [s.kind for s in reflector.sessions] == ["client"] * 49
    assert [(s.with_, s.passive) for s in client.sessions] == [(birds.name(reflect.REFLECTOR), True)]
    leases = model.leases[birds.NETWORK.name].values()
    assert len({block for lease in leases for block in lease.subnets}) == 50 * 20
    assert len(birds.held(499, 20)) == len(birds.held(500, 20)) == 20 and len(birds.held(learn.PEER, 10_000)) == 10_000


def test_lost_pings_are_counted() -> None:
    assert _lost("1000 packets transmitted, 997 received, 0.3% packet loss, time 10ms") == 3
