"""ESP's states and policies as messages of their own netlink (linux/xfrm.h). Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from socket import inet_ntop

from weft.hoststate import XfrmPolicy, XfrmState
from weft.hoststate.encryption import REQID
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attr, attributes
from weft.reconcile.kinds.xfrm import PRIORITY, WINDOW

_ESP, _UDP = 50, 17
_SELECTOR = struct.Struct("=16s16s2s2s2s2sHBBB3xiI")
"""struct xfrm_selector: destination, source, destination port, its mask, source port, its mask, family, lengths, protocol,
-."""
_LIFETIME = struct.pack("=8Q", *[u.XFRM_INF] * 4, *[0] * 4)
"""struct xfrm_lifetime_cfg: without limits of octets and packets, and of seconds (there 0 says so)."""
_USED = bytes(32)
"""struct xfrm_lifetime_cur."""
_STATE_ID = struct.Struct("=16s4sHBx")
"""struct xfrm_usersa_id: destination, SPI, family, protocol."""
_STATE = struct.Struct("=56s16s4sB3x16s64s32s12xIIHBBB7x")
"""struct xfrm_usersa_info: selector; destination, SPI, protocol; source, lifetimes, statistics, sequence number, reqid, family,
mode, window, flags."""
_POLICY = struct.Struct("=56s64s32sIIBBBB4x")
"""struct xfrm_userpolicy_info: selector, lifetimes, priority, index, direction, action, flags, share."""
_POLICY_ID = struct.Struct("=56sIB3x")
_TEMPLATE = struct.Struct("=16s4sB3xH2x16sIBBBxIII")
"""struct xfrm_user_tmpl: destination, SPI, protocol, family, source, reqid, mode, share, optional, algorithms of three
kinds."""
_AEAD = struct.Struct("=64sII")
"""struct xfrm_algo_aead: name, bits of the key, bits of the ICV."""
_ESN = struct.Struct("=6I")
"""struct xfrm_replay_state_esn: words of the bitmap, sequence numbers (out, in, upper halves), window."""
_ALGORITHM, _ICV = b"rfc4106(gcm(aes))", 128
_ANY = 0xFFFFFFFF
_AF = {4: u.AF_INET, 6: u.AF_INET6}
_DIRECTIONS = {"in": u.XFRM_POLICY_IN, "out": u.XFRM_POLICY_OUT}
_DIRECTION_NAMES = {number: name for name, number in _DIRECTIONS.items()}

STATES = u.XFRM_MSG_GETSA, b""
POLICIES = u.XFRM_MSG_GETPOLICY, b""


# -- writing -----------------------------------------------------------------------------------------------------------


def state(obj: XfrmState, key: bytes) -> Message:
    source, destination = ip_address(obj.source), ip_address(obj.destination)
    family = _AF[destination.version]
    nothing = _SELECTOR.pack(b"", b"", b"", b"", b"", b"", family, 0, 0, 0, 0, 0)
    body = _STATE.pack(
        nothing,
        destination.packed,
        obj.spi.to_bytes(4, "big"),
        _ESP,
        source.packed,
        _LIFETIME,
        _USED,
        0,
        REQID,
        family,
        u.XFRM_MODE_TRANSPORT,
        0,
        u.XFRM_STATE_ESN,
    )
    body += attr(u.XFRMA_ALG_AEAD, _AEAD.pack(_ALGORITHM, len(key) * 8, _ICV) + key)
    words = WINDOW // 32
    body += attr(u.XFRMA_REPLAY_ESN_VAL, _ESN.pack(words, 0, 0, 0, 0, WINDOW) + bytes(4 * words))
    return Message(u.XFRM_MSG_NEWSA, u.NLM_F_REQUEST, body)


def without_state(obj: XfrmState) -> Message:
    destination = ip_address(obj.destination)
    body = _STATE_ID.pack(destination.packed, obj.spi.to_bytes(4, "big"), _AF[destination.version], _ESP)
    return Message(u.XFRM_MSG_DELSA, u.NLM_F_REQUEST, body)


def policy(obj: XfrmPolicy) -> Message:
    source, destination = ip_address(obj.source), ip_address(obj.destination)
    direction = _DIRECTIONS[obj.direction]
    body = _POLICY.pack(_selector(obj), _LIFETIME, _USED, PRIORITY, 0, direction, u.XFRM_POLICY_ALLOW, 0, 0)
    template = _TEMPLATE.pack(
        destination.packed,
        bytes(4),
        _ESP,
        _AF[destination.version],
        source.packed,
        REQID,
        u.XFRM_MODE_TRANSPORT,
        0,
        0,
        _ANY,
        _ANY,
        _ANY,
    )
    return Message(u.XFRM_MSG_NEWPOLICY, u.NLM_F_REQUEST, body + attr(u.XFRMA_TMPL, template))


def without_policy(obj: XfrmPolicy) -> Message:
    body = _POLICY_ID.pack(_selector(obj), 0, _DIRECTIONS[obj.direction])
    return Message(u.XFRM_MSG_DELPOLICY, u.NLM_F_REQUEST, body)


def _selector(obj: XfrmPolicy) -> bytes:
    source, destination = ip_address(obj.source), ip_address(obj.destination)
    length = destination.max_prefixlen
    port = obj.port.to_bytes(2, "big")
    family = _AF[destination.version]
    return _SELECTOR.pack(
        destination.packed, source.packed, port, b"\xff\xff", b"", b"", family, length, length, _UDP, 0, 0
    )


# -- reading -----------------------------------------------------------------------------------------------------------


def decode_state(
    data: bytes, start: int, end: int, ns: str, recipe: Callable[[XfrmState, bytes], XfrmState]
) -> XfrmState | None:
    """None for what is not ours, and for what the kernel made itself while it waits for one (SPI 0). `recipe`: given it and its
    key, says of what that is made."""
    _, destination, spi, protocol, source, _, _, _, reqid, family, mode, _, flags = _STATE.unpack_from(data, start)
    if reqid != REQID or protocol != _ESP or not any(spi):
        return None
    found = attributes(data, start + _STATE.size, end)
    aead = found.get(u.XFRMA_ALG_AEAD, b"")
    name, bits, icv = _AEAD.unpack_from(aead.ljust(_AEAD.size, b"\0"))
    as_made = name.rstrip(b"\0") == _ALGORITHM and icv == _ICV and mode == u.XFRM_MODE_TRANSPORT
    key = aead[_AEAD.size :][: bits // 8] if as_made and flags & u.XFRM_STATE_ESN else b""
    read = XfrmState(
        source=_address(family, source),
        destination=_address(family, destination),
        spi=int.from_bytes(spi, "big"),
        recipe="",
        out=False,
        ns=ns,
    )
    return recipe(read, key)


def decode_policy(data: bytes, start: int, end: int, ns: str) -> XfrmPolicy | None:
    """None for what is not ours, and for what is not as we make it."""
    selector, _, _, _, _, direction, action, _, _ = _POLICY.unpack_from(data, start)
    template = attributes(data, start + _POLICY.size, end).get(u.XFRMA_TMPL, b"")
    if len(template) != _TEMPLATE.size or direction not in _DIRECTION_NAMES or action != u.XFRM_POLICY_ALLOW:
        return None
    _, _, protocol, _, _, reqid, mode, _, optional, *_ = _TEMPLATE.unpack(template)
    if (reqid, protocol, mode, optional) != (REQID, _ESP, u.XFRM_MODE_TRANSPORT, 0):
        return None
    destination, source, port, _, _, _, family, *_ = _SELECTOR.unpack(selector)
    return XfrmPolicy(
        source=_address(family, source),
        destination=_address(family, destination),
        port=int.from_bytes(port, "big"),
        direction="out" if direction == u.XFRM_POLICY_OUT else "in",
        ns=ns,
    )


def _address(family: int, packed: bytes) -> str:
    return inet_ntop(family, packed[:4] if family == u.AF_INET else packed)
