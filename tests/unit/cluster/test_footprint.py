"""An endpoint's records: whatever the way from nothing to nothing, nothing is left, and nobody's is taken."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import msgspec
import pytest

from weft.alloc.addresses import mac_for
from weft.cluster import footprint
from weft.cluster.footprint import Place
from weft.datapaths.traits import Switched
from weft.model import Endpoint, Namespace, keys
from weft.store.protocol import Absent, Delete, Put, Unchanged

WEB = Endpoint(
    id="a1",
    name="web",
    network="blue",
    node="node-1",
    container="web",
    namespace=Namespace(path="/run/netns/web", cookie=1),
    interface="eth0",
    mac=mac_for(ip_address("10.1.0.2")),
    addresses=(ip_interface("10.1.0.2/32"),),
)
OWN = Place("blue", claimed=False, switched=Switched.ON_HOST)
SHARED = Place("blue", claimed=True, switched=Switched.EVERYWHERE)
BLOCKS = Place("home", claimed=True, switched=Switched.NOWHERE)
FLOATING = ip_address("203.0.113.5")
STEPS = (
    WEB,
    msgspec.structs.replace(WEB, mac="02:00:00:00:00:01"),
    msgspec.structs.replace(WEB, floating=(FLOATING,)),
    msgspec.structs.replace(WEB, floating=(FLOATING, ip_address("203.0.113.6")), id="b2", node="node-2"),
    msgspec.structs.replace(WEB, name="other", addresses=(ip_interface("10.1.0.3/32"),)),
)


@pytest.mark.parametrize(
    ("at", "more"),
    [
        (OWN, set()),
        (SHARED, {"claims/addresses/blue/10.1.0.2"}),
        (BLOCKS, {"claims/addresses/home/10.1.0.2"}),
    ],
    ids=["own", "shared", "blocks"],
)
def test_which_records_there_are_is_its_networks_kind(at: Place, more: set[str]) -> None:
    assert footprint.of(WEB, at).keys() == {"endpoints/node-1/blue/a1", "locations/blue/a1", *more}


def test_a_mac_address_is_claimed_where_it_could_meet_another() -> None:
    asked = STEPS[1]
    assert footprint.mac_claim(asked, OWN) == "claims/macs/blue/node-1/02:00:00:00:00:01"
    assert footprint.mac_claim(asked, SHARED) == "claims/macs/blue/02:00:00:00:00:01"
    assert footprint.mac_claim(asked, BLOCKS) == footprint.mac_claim(WEB, OWN) == ""


@pytest.mark.parametrize("at", [OWN, SHARED, BLOCKS], ids=["own", "shared", "blocks"])
def test_steps_lead_to_just_what_is_wanted_from_anywhere(at: Place) -> None:
    """From each endpoint, or none, to each other, or none: what is in the store then is the records of the last."""
    for old in (None, *STEPS):
        for new in (None, *STEPS):
            there = footprint.of(old, at)
            guards, ops = footprint.step(old, new, at, tenure=7)
            assert all(guard.key not in there for guard in guards if isinstance(guard, Absent))
            for op in ops:
                assert isinstance(op, Put | Delete)
                if isinstance(op, Put):
                    assert op.lease == 7
                    there[op.key] = op.value
                else:
                    del there[op.key]
            assert there == footprint.of(new, at)


def test_what_must_be_unique_is_guarded_when_it_comes_and_only_then() -> None:
    floating = STEPS[2]
    guards, ops = footprint.step(WEB, floating, BLOCKS, 7)
    assert guards == [Absent(keys.floating_claim(FLOATING))]
    assert [op.key for op in ops if isinstance(op, Put)] == [footprint.key_of(WEB), keys.floating_claim(FLOATING)]
    guards, _ = footprint.step(None, WEB, BLOCKS, 7, over={"claims/addresses/home/10.1.0.2": 40})
    assert guards == [Absent(footprint.key_of(WEB)), Unchanged("claims/addresses/home/10.1.0.2", 40)]
    assert footprint.step(floating, WEB, BLOCKS, 7)[0] == []


def test_what_one_transaction_can_remove_is_removed_together() -> None:
    floats = tuple(ip_address(f"203.0.113.{n}") for n in range(1, 201))
    many = [msgspec.structs.replace(WEB, id=f"e{n}", floating=floats[: n % 3]) for n in range(200)]
    groups = list(footprint.together(many))
    assert [e for group in groups for e in group] == many
    for at in (OWN, SHARED, BLOCKS):
        sizes = [sum(len(footprint.removal(e, at)) for e in group) for group in groups]
        assert max(sizes) <= footprint.TOGETHER
    assert len(groups) < 12 and list(footprint.together([])) == []
    whole = msgspec.structs.replace(WEB, floating=floats)
    assert list(footprint.together([whole, WEB])) == [[whole], [WEB]]
