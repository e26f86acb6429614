"""WireGuard and ESP, without a kernel."""

from __future__ import annotations

import struct

import msgspec
import pytest

from weft.hoststate import Link, Object, Wireguard, WireguardEnd, WireguardPeer, XfrmPolicy, XfrmState
from weft.kernel.fake import FakeKernel
from weft.kernel.kinds import wireguard_wire, xfrm_wire
from weft.kernel.plumbing.netlink import attributes
from weft.reconcile.kinds.table import describe
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Create, Op, Reading, Remove
from weft.reconcile.render import commands

PUBLIC = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
DEVICE = Link(name="wg-weft", type=Wireguard(), mtu=1440)
END = WireguardEnd(dev="wg-weft", port=6789, public="AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=")
PEER = WireguardPeer(
    dev="wg-weft", public=PUBLIC, endpoint="192.168.1.254", port=6789, allowed=("192.168.1.254/32", "fd01:a::254/128")
)
STATE = XfrmState(source="192.168.1.68", destination="192.168.1.254", spi=0x80000001, recipe="a b salt start", out=True)
STATE6 = XfrmState(source="fd01:a::254", destination="fd01:a::68", spi=0xFEDCBA98, recipe="b a salt start", out=False)
POLICY = XfrmPolicy(source="192.168.1.68", destination="192.168.1.254", port=8473, direction="out")
POLICY6 = XfrmPolicy(source="fd01:a::254", destination="fd01:a::68", port=8473, direction="in")
ALL: tuple[Object, ...] = (DEVICE, END, PEER, STATE, STATE6, POLICY, POLICY6)
KEY = bytes(range(36))


@pytest.mark.parametrize(
    ("op", "line"),
    [
        (Create(END), "wg set wg-weft listen-port 6789 private-key '(hidden)'"),
        (
            Change(PEER, PEER),
            f"wg set wg-weft peer {PUBLIC} preshared-key '(hidden)' endpoint 192.168.1.254:6789 "
            "allowed-ips 192.168.1.254/32,fd01:a::254/128",
        ),
        (Remove(PEER), f"wg set wg-weft peer {PUBLIC} remove"),
        (
            Create(STATE),
            "ip xfrm state add src 192.168.1.68 dst 192.168.1.254 proto esp spi 0x80000001 reqid 0x57454654 mode transport "
            "replay-window 1024 flag esn aead 'rfc4106(gcm(aes))' '(hidden)' 128",
        ),
        (Remove(STATE6), "ip xfrm state delete dst fd01:a::68 proto esp spi 0xfedcba98"),
        (
            Create(POLICY),
            "ip xfrm policy add src 192.168.1.68 dst 192.168.1.254 proto udp dport 8473 dir out priority 87 tmpl "
            "src 192.168.1.68 dst 192.168.1.254 proto esp reqid 0x57454654 mode transport",
        ),
        (Remove(POLICY6), "ip xfrm policy delete src fd01:a::254 dst fd01:a::68 proto udp dport 8473 dir in"),
    ],
)
def test_commands(op: Op, line: str) -> None:
    assert commands(op) == [line]


def test_in_words() -> None:
    assert describe(PEER.key) == f"wireguard-peer {PUBLIC} of wg-weft"
    assert describe(STATE.key) == "xfrm-state 0x80000001 at 192.168.1.254"
    assert describe(POLICY6.key) == "xfrm-policy in fd01:a::254 to fd01:a::68 port 8473"


def test_policies_come_before_any_device_and_a_peer_after_its_own() -> None:
    wanted = {obj.key: obj for obj in (PEER, END, DEVICE, POLICY, STATE)}
    order = [op.obj for op in plan(wanted, Reading({}), {""}).ops if isinstance(op, Create)]
    assert order.index(POLICY) < order.index(DEVICE) < order.index(END) < order.index(PEER)
    kernel = FakeKernel()
    assert not kernel.apply([Create(obj) for obj in order])
    kernel.destroy(DEVICE.key)
    assert kernel.objects.keys() == {POLICY.key, STATE.key}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (msgspec.structs.replace(PEER, shared=False), PEER),
        (msgspec.structs.replace(PEER, endpoint="192.168.1.253"), PEER),
        (msgspec.structs.replace(END, port=1), END),
    ],
)
def test_what_is_not_as_it_should_be_is_set_again(found: Object, wanted: Object) -> None:
    there: dict[tuple[str, ...], Object] = {DEVICE.key: DEVICE, END.key: END, found.key: found}
    desired: dict[tuple[str, ...], Object] = {DEVICE.key: DEVICE, END.key: END, wanted.key: wanted}
    assert plan(desired, Reading(there), {""}).ops == (Change(found, wanted),)


def test_a_state_with_another_key_is_made_anew() -> None:
    found = msgspec.structs.replace(STATE, recipe="")
    assert list(plan({STATE.key: STATE}, Reading({found.key: found}), {""}).ops) == [Remove(found), Create(STATE)]


# -- as messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [STATE, STATE6])
def test_a_state_is_read_as_it_is_written(state: XfrmState) -> None:
    body, keys = xfrm_wire.state(state, KEY).body, []

    def recipe(found: XfrmState, key: bytes) -> XfrmState:
        keys.append(key)
        return msgspec.structs.replace(found, recipe=state.recipe, out=state.out)

    assert xfrm_wire.decode_state(body, 0, len(body), "", recipe) == state
    assert keys == [KEY]


@pytest.mark.parametrize("policy", [POLICY, POLICY6])
def test_a_policy_is_read_as_it_is_written(policy: XfrmPolicy) -> None:
    body = xfrm_wire.policy(policy).body
    assert xfrm_wire.decode_policy(body, 0, len(body), "") == policy


@pytest.mark.parametrize("message", [xfrm_wire.state(STATE, KEY), xfrm_wire.policy(POLICY)])
def test_what_has_another_number_is_not_ours(message: object) -> None:
    body = message.body.replace(struct.pack("=I", 0x57454654), struct.pack("=I", 1))  # type: ignore[attr-defined]
    assert xfrm_wire.decode_state(body, 0, len(body), "", lambda found, _: found) is None
    assert xfrm_wire.decode_policy(body.ljust(400, b"\0"), 0, len(body), "") is None


def test_a_peer_is_told_in_pieces() -> None:
    """Its prefixes may go on in another message, under its key again."""
    from weft.kernel.plumbing import uapi as u
    from weft.kernel.plumbing.genl import HEAD

    def part(*allowed: str) -> bytes:
        body = wireguard_wire.peer(1, msgspec.structs.replace(PEER, allowed=allowed), bytes(32)).body
        peers = attributes(body, HEAD.size, len(body))[u.WGDEVICE_A_PEERS]
        return HEAD.pack(0, 1, 0) + struct.pack("=HH", 4 + len(peers), u.WGDEVICE_A_PEERS) + peers

    told = wireguard_wire.decode([part("192.168.1.254/32"), part("fd01:a::254/128")], "wg-weft", "")
    assert told.peers == {PUBLIC: (PEER, bytes(32))}
    six = msgspec.structs.replace(PEER, endpoint="fd01:a::254")
    body = wireguard_wire.peer(1, six, bytes(32)).body
    assert wireguard_wire.decode([body], "wg-weft", "").peers[PUBLIC][0] == six
