"""Endpoints come, change, move and go, and any of the transactions may be lost: what is in the store is what they stand for."""

from __future__ import annotations

from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st

from weft.alloc.addresses import mac_for
from weft.cluster import footprint
from weft.cluster.footprint import Place
from weft.datapaths.traits import Switched
from weft.model import Endpoint, Location, Namespace, decode, keys
from weft.model.identity import check_labels
from weft.policy.record import identity
from weft.store.protocol import Absent, Delete, Put

NAMES = st.sampled_from(("a", "example.com/b", "c.d", "no/label/at-all", "x" * 70, ""))
VALUES = st.sampled_from(("", "1", "y" * 63, "z" * 64, "/etc/a,b"))
places = st.builds(
    Place, st.sampled_from(("blue", "home")), claimed=st.booleans(), switched=st.sampled_from(list(Switched))
)


@st.composite
def endpoints(draw: st.DrawFn, number: int) -> Endpoint:
    address = ip_interface(f"10.1.{number}.{draw(st.integers(2, 3))}/24")
    return Endpoint(
        id=f"{number}{draw(st.sampled_from('ab'))}",
        name=f"c{number}",
        network="blue",
        node=draw(st.sampled_from(("node-1", "node-2"))),
        container="c",
        namespace=Namespace(path="/run/netns/c", cookie=number + 1),
        interface="eth0",
        mac=draw(st.sampled_from((mac_for(address.ip), f"02:00:00:00:00:0{number}"))),
        addresses=(address,),
        labels=draw(st.dictionaries(NAMES, VALUES, max_size=4)),
        policy_namespace=draw(st.sampled_from(("default", "shop"))),
    )


@given(places, st.data())
def test_every_endpoint_is_known_and_nothing_is_left_of_those_that_are_gone(at: Place, data: st.DataObject) -> None:
    store: dict[str, bytes] = {}
    held: dict[int, Endpoint] = {}
    steps = data.draw(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(("put", "put", "remove", "lost")))))
    for number, what in (*steps, *((n, "remove") for n in range(3))):
        old = held.get(number)
        new = None if what == "remove" else data.draw(endpoints(number))
        guards, ops = footprint.step(old, new, at, tenure=7)
        if what == "lost":
            continue
        assert all(guard.key not in store for guard in guards if isinstance(guard, Absent))
        assert len({op.key for op in ops if isinstance(op, Put | Delete)}) == len(ops)
        for op in ops:
            if isinstance(op, Put):
                store[op.key] = op.value
            elif isinstance(op, Delete):
                del store[op.key]
        held = {n: e for n, e in {**held, number: new}.items() if e is not None}
        _check_known(store, held)
    assert store == {}


def _check_known(store: dict[str, bytes], held: dict[int, Endpoint]) -> None:
    """By the locations, and by nothing else."""
    told = []
    for key, value in store.items():
        if (where := keys.LOCATION.parse(key)) is not None:
            told.append(identity(where, decode(Location, value)))
    assert {i.id for i in told} == {e.id for e in held.values()} and len(told) == len(held)
    for found in told:
        endpoint = next(e for e in held.values() if e.id == found.id)
        assert (found.name, found.node, found.namespace) == (endpoint.name, endpoint.node, endpoint.policy_namespace)
        assert found.addresses == tuple(a.ip for a in endpoint.addresses)
        assert found.labels.items() <= endpoint.labels.items()
        check_labels("web", found.labels)
