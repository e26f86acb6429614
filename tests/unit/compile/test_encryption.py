"""What a host needs for another one with which it encrypts, by the model alone."""

from __future__ import annotations

import msgspec
import pytest

from support import lab
from weft.base.net import parse_network
from weft.cluster.view import View
from weft.compile import encryption
from weft.compile.known import Known
from weft.datapaths._encryption import pair
from weft.datapaths.driver import Host, gather
from weft.hoststate import Link, NftElement, Object, RoutingRule, WireguardPeer, XfrmPolicy, XfrmState
from weft.hoststate.union import Source
from weft.model import Node, encode, keys
from weft.store.protocol import Change

WIREGUARD = {"ciphers": ("wireguard",), "wg_key": "a key"}
ESP = {"ciphers": ("esp",), "esp_salt": "salt", "esp_start": "start"}
ME = {**WIREGUARD, **ESP, "ciphers": ("wireguard", "esp")}


def objects(other: dict[str, object], *ports: tuple[int, int], trusted: str = "") -> list[Object]:
    trusting = (parse_network(trusted),) if trusted else ()
    host = Host(node=lab.node("node-1", **ME), keyed=True, trusted=trusting, salts=("new", "old"))
    return list(gather(pair(host, lab.node("node-2", **other), ports)).objects)  # type: ignore[arg-type]


def of(found: list[Object], kind: type[Object]) -> list[Object]:
    return [obj for obj in found if isinstance(obj, kind)]


def test_nothing_without_encrypted_networks() -> None:
    assert objects(WIREGUARD) == []


def test_each_port_is_closed_and_routed() -> None:
    found = objects(WIREGUARD, (4, 8473), (6, 4788))
    assert {e.value for e in of(found, NftElement) if e.set.startswith("secured")} == {  # type: ignore[union-attr]
        "192.168.1.254 . 8473",
        "fd01:a::254 . 4788",
    }
    assert {(r.family, r.udp_port) for r in of(found, RoutingRule)} == {(4, 8473), (6, 4788)}  # type: ignore[union-attr]
    (link,), (peer,) = of(found, Link), of(found, WireguardPeer)
    assert {key[-1] for key in link.guards} == {"secured-output", "secured-input"}  # type: ignore[union-attr]
    assert peer.allowed == ("192.168.1.254/32", "fd01:a::254/128")  # type: ignore[union-attr]
    assert not of(found, XfrmPolicy)


def test_a_receiver_takes_by_each_salt_that_others_may_send_by() -> None:
    found = objects(ESP, (4, 8473))
    states = of(found, XfrmState)
    assert [s.recipe for s in states if s.out] == ["node-1 node-2 salt start"]  # type: ignore[union-attr]
    assert {s.recipe for s in states if not s.out} == {"node-2 node-1 new start", "node-2 node-1 old start"}  # type: ignore[union-attr]
    assert {p.direction for p in of(found, XfrmPolicy)} == {"in", "out"}  # type: ignore[union-attr]


def test_two_that_cannot_have_the_rules_alone() -> None:
    found = objects({}, (4, 8473))
    assert of(found, NftElement) and not of(found, Link) and not of(found, XfrmPolicy)


@pytest.mark.parametrize("other", [WIREGUARD, ESP, {}], ids=["wireguard", "esp", "none"])
def test_who_trusts_the_wire_has_nothing_of_it(other: dict[str, object]) -> None:
    assert objects(other, (4, 8473), trusted="192.168.1.0/24") == []
    assert objects(other, (4, 8473), trusted="192.168.1.68/32")


def test_a_host_that_was_installed_anew_is_no_other_one() -> None:
    host = Host(node=lab.node("node-1", **ME), keyed=True)
    again = msgspec.structs.replace(host.node, name="node-9")
    assert list(pair(host, again, [(4, 8473), (6, 4788)])) == []


def test_of_a_family_that_one_has_not_nothing_is_said() -> None:
    host = Host(node=lab.node("node-1", **ME), keyed=True)
    four: Node = lab.node("node-2", (4,), **WIREGUARD)
    assert list(pair(host, four, [(6, 4788)])) == []


@pytest.mark.parametrize(
    ("other", "trusted", "expected"),
    [
        (WIREGUARD, (), "wireguard"),
        (ESP, (), "esp"),
        ({}, (), "nothing passes"),
        (WIREGUARD, ("192.168.1.0/24",), "trusted"),
    ],
)
def test_how_a_pair_is_encrypted(other: dict[str, object], trusted: tuple[str, ...], expected: str) -> None:
    me, node = lab.node("node-1", **ME), lab.node("node-2", **other)
    known = Known(View("node-1"))
    known.view.apply([Change(keys.node(n.name), encode(n), 1) for n in (me, node)])
    known.host = Host(node=me, keyed=True, trusted=tuple(map(parse_network, trusted)))
    assert encryption.how(known, "node-2") == ""
    blue = lab.network("vxlan", options={"encrypt": True, "port": 8473})
    known.view.apply([Change(keys.network("blue"), encode(blue), 2)])
    assert encryption.how(known, "node-2") == expected
    assert encryption.how(known, "node-9") == ""
    found = encryption.CONTRIBUTOR.contribute(known, Source(encryption.NAME, "", "node-2"))
    assert found is not None and bool(found.objects) == (expected != "trusted")
