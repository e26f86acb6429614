"""What the view makes of changes in whatever order, twice, late, and unreadable."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import msgspec
import pytest

from weft.cluster import replica
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.model import Endpoint, Lease, Namespace, Network, Node, encode, keys
from weft.store.protocol import Change, Item

BLUE = Network(name="blue", driver="vxlan", subnets=(ip_network("10.1.0.0/16"),))
RED = Network(name="red", driver="vxlan", subnets=(ip_network("10.2.0.0/16"),))
NODE = Node(name="node-2", addresses=(ip_interface("192.168.1.2/24"),), uplink="eth0")
LEASE = Lease(network="blue", node="node-2", subnets=(ip_network("10.1.2.0/24"),))
ENDPOINT = Endpoint(
    id="0123456789abcdef",
    name="c1",
    network="blue",
    node="node-1",
    container="c1",
    namespace=Namespace(path="/run/netns/c1", cookie=7),
    interface="eth0",
    mac="02:42:0a:01:01:02",
    addresses=(ip_interface("10.1.1.2/24"),),
)


KEY = keys.endpoint("node-1", "blue", ENDPOINT.id)


class Heard(list[set[str]]):
    """The keys that changed, each time."""

    def __call__(self, changed: Changed) -> None:
        self.append({kind.pattern.key(*at) for kind, at in changed.all()})


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def view(heard: Heard) -> View:
    view = View("node-1")
    view.subscribe("the test", heard)
    return view


def put(value: object, revision: int) -> Change:
    match value:
        case Network():
            key = keys.network(value.name)
        case Node():
            key = keys.node(value.name)
        case Lease():
            key = keys.lease(value.network, value.node)
        case Endpoint():
            key = keys.endpoint(value.node, value.network, value.id)
    return Change(key, encode(value), revision)


def gone(key: str, revision: int) -> Change:
    return Change(key, None, revision)


def test_every_kind_has_its_place(view: View, heard: Heard) -> None:
    view.apply([put(BLUE, 1), put(NODE, 2), put(LEASE, 3), put(ENDPOINT, 4)])
    view.apply(
        [Change(keys.presence("node-2"), b"i2", 5), Change(keys.cursor("node-1", "blue"), b'{"4":"10.1.1.9"}', 6)]
    )
    assert view.networks == {"blue": BLUE} and view.nodes == {"node-2": NODE} and view.present == {"node-2": "i2"}
    assert view.lease("blue", "node-2") == LEASE and view.lease("red", "node-2") is None
    assert list(view.endpoints_of("blue")) == [ENDPOINT] and not list(view.endpoints_of("red"))
    assert str(view.cursors["blue"]["4"]) == "10.1.1.9"
    assert view.revision(keys.lease("blue", "node-2")) == 3
    assert heard[0] == {
        "networks/blue",
        "nodes/node-2",
        "leases/blue/node-2",
        f"endpoints/node-1/blue/{ENDPOINT.id}",
    }


def test_a_duplicate_tells_nobody(view: View, heard: Heard) -> None:
    view.apply([put(BLUE, 3)])
    view.apply([put(BLUE, 3)])
    view.apply([put(BLUE, 4)])  # written again, the same
    assert len(heard) == 1 and view.revision("networks/blue") == 4


def test_the_higher_revision_counts_whenever_it_comes(view: View) -> None:
    newer = Network(name="blue", driver="host-gw", subnets=BLUE.subnets)
    view.apply([put(newer, 9)])
    view.apply([put(BLUE, 4)])
    assert view.networks["blue"] == newer


def test_an_own_deletion_stands_against_what_the_watch_still_has_from_before(view: View) -> None:
    view.apply([put(BLUE, 3)])
    view.apply([gone("networks/blue", 7)])
    view.apply([put(BLUE, 5), put(BLUE, 6)])
    assert not view.networks
    view.apply([gone("networks/blue", 7)])
    assert not view.networks
    view.apply([put(BLUE, 8)])
    assert view.networks


def test_an_own_write_that_returns_after_the_watch_told_of_its_end(view: View) -> None:
    """commit() wrote at 5; before it returned, the watch had told 5 and the deletion by someone else at 6."""
    view.apply([put(BLUE, 5), gone("networks/blue", 6)])
    view.apply([put(BLUE, 5)])
    assert not view.networks and view.revision("networks/blue") == 0


def test_a_late_listing_revives_nothing(view: View) -> None:
    view.apply([put(LEASE, 5), gone(keys.lease("blue", "node-2"), 6)])
    view.listed(("leases/blue/",), [Item(keys.lease("blue", "node-2"), encode(LEASE), 5)], 5)
    assert view.lease("blue", "node-2") is None


def test_a_listing_replaces_what_is_under_its_prefixes(view: View, heard: Heard) -> None:
    view.apply([put(BLUE, 1), put(RED, 2), put(NODE, 3)])
    heard.clear()
    view.listed(("networks/",), [Item("networks/blue", encode(BLUE), 1)], 8)
    assert set(view.networks) == {"blue"} and set(view.nodes) == {"node-2"}
    assert heard == [{"networks/red"}]


def test_a_listing_older_than_an_own_write_does_not_undo_it(view: View) -> None:
    view.apply([put(BLUE, 9)])
    view.listed(("networks/",), [], 8)
    assert set(view.networks) == {"blue"}
    view.listed(("networks/",), [], 10)
    assert not view.networks


def test_a_store_put_back_to_an_earlier_state_is_believed(view: View) -> None:
    view.apply([put(BLUE, 20), put(NODE, 21), gone("networks/red", 22)])
    view.rewound()
    view.listed(("networks/", "nodes/"), [Item("networks/red", encode(RED), 3)], 4)
    assert set(view.networks) == {"red"} and not view.nodes
    view.apply([put(BLUE, 5)])
    assert set(view.networks) == {"red", "blue"}


@pytest.mark.parametrize(
    "value", [b"", b"{", b"\xff\xfe", b'"\xff"', b'{"name":"blue"}', b"[]", encode(RED)[:-3]], ids=repr
)
def test_what_cannot_be_read_counts_as_absent_and_is_told(view: View, value: bytes) -> None:
    view.apply([put(BLUE, 1)])
    view.apply([Change("networks/blue", value, 2)])
    assert not view.networks and "networks/blue" in view.broken
    assert view.revision("networks/blue") == 2  # it is there: guards can name it
    view.apply([put(BLUE, 3)])
    assert view.networks and not view.broken


def test_an_unreadable_presence_is_somebody_elses(view: View) -> None:
    view.apply([Change("presence/node-2", b"\xff\xff", 1)])
    assert view.present["node-2"] != ""


def test_unknown_keys_are_passed_over(view: View, heard: Heard) -> None:
    view.apply([Change("claims/vni/1", b"blue", 1), Change("networks/a/b", b"{}", 2), Change("policies/x", b"?", 3)])
    assert heard == [] and not view.broken


def test_deletions_are_not_remembered_for_ever(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "DELETIONS", 10)
    for number in range(100):
        view.apply([gone(f"networks/n{number}", number + 1)])
        view.apply([put(Network(name=f"n{number}", driver="x", subnets=BLUE.subnets), number + 1)])
        assert not view.networks, number
    assert len(view._deleted) <= 20


def test_the_cookie_of_a_path(view: View) -> None:
    other = Endpoint(**{f: getattr(ENDPOINT, f) for f in ENDPOINT.__struct_fields__} | {"id": "ffff", "network": "red"})
    assert view.cookie("/run/netns/c1") == 0
    view.apply([put(ENDPOINT, 1), put(other, 2)])
    assert view.cookie("/run/netns/c1") == 7
    view.apply([gone(put(ENDPOINT, 1).key, 3)])
    assert view.cookie("/run/netns/c1") == 7
    view.apply([gone(put(other, 1).key, 4)])
    assert view.cookie("/run/netns/c1") == 0


# Without the store (`weft.cluster.owed`).

CHANGED = msgspec.structs.replace(ENDPOINT, container="/run/docker/netns/x")


def test_what_the_store_is_not_told_of_yet_counts_until_it_has_it(view: View, heard: Heard) -> None:
    view.apply([put(BLUE, 1)])
    view.hold([Item(KEY, encode(ENDPOINT), 0)])
    assert heard[-1] == {KEY} and view.endpoints[ENDPOINT.id] == ENDPOINT and view.lost == {KEY: 0}
    view.listed(view.prefixes(), [Item(keys.network("blue"), encode(BLUE), 1)], 2)
    assert view.endpoints and KEY in view.held
    view.apply([put(ENDPOINT, 3)])
    assert not view.held and not view.lost and view.revision(KEY) == 3


def test_what_changed_since_the_store_may_have_been_told_counts_against_its_word(view: View) -> None:
    view.apply([put(BLUE, 1)])
    view.hold([Item(KEY, encode(ENDPOINT), 0)])
    view.hold([Item(KEY, encode(CHANGED), 0)])
    view.apply([put(ENDPOINT, 2)])
    assert view.endpoints[ENDPOINT.id] == CHANGED and KEY in view.lost and view.revision(KEY) == 2
    view.apply([put(CHANGED, 3)])
    assert not view.lost and view.revision(KEY) == 3
    view.apply([put(ENDPOINT, 4)])
    assert view.endpoints[ENDPOINT.id] == ENDPOINT


def test_what_this_node_removed_does_not_come_back_before_the_store_knows(view: View, heard: Heard) -> None:
    view.apply([put(BLUE, 1), put(ENDPOINT, 2)])
    view.renounce([KEY])
    assert heard[-1] == {KEY} and not view.endpoints
    view.listed(view.prefixes(), [Item(keys.network("blue"), encode(BLUE), 1), Item(KEY, encode(ENDPOINT), 2)], 5)
    assert not view.endpoints
    view.hold([Item(KEY, encode(CHANGED), 0)])  # attached again
    view.apply([Change(KEY, None, 6)])
    view.forgive(KEY)
    view.apply([put(ENDPOINT, 5)])  # what was said before arrives late
    assert view.endpoints[ENDPOINT.id] == CHANGED and KEY in view.held


def test_what_has_no_network_any_more_is_told_if_the_store_never_had_it(view: View) -> None:
    told: list[object] = []
    view.on_orphans = told.extend
    view.apply([put(BLUE, 1)])
    view.hold([Item(KEY, encode(ENDPOINT), 0)])
    view.listed(view.prefixes(), [], 2)
    assert told == [ENDPOINT] and not view.endpoints and not view.held
