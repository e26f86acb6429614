"""The form of probes on the wire: what one host tells another with each of them.

    Ethernet   the EtherType for local experiments (IEEE 802), unicast
    "WEFTp1"   channel (1 octet)   size of the packet (2)   length of what follows (2)
    message    `Probe`, in MessagePack
    tag        16 octets: BLAKE2 keyed with the cluster's secret, over all before it, and the size
    padding    up to the size under test

Without a secret the tag only tells damage. A recorded probe is worth nothing: numbers only rise, and a host that begins
anew is believed once it repeats what this host said since its own start (`yours`).
"""

from __future__ import annotations

import hashlib
import hmac
import struct

import msgspec

from weft.base.errors import Invalid
from weft.paths.channels import Channel, Way

ETHERTYPE = 0x88B5
ETHERNET = 14
"""Octets of a frame that are not the packet's."""
_MAGIC = b"WEFTp1"
_HEAD = struct.Struct("!6sBHH")
_TAG = 16
DOWN, DOUBT, UP = 0, 1, 2


class Report(msgspec.Struct, frozen=True, array_like=True):
    """Of one channel. `sent`: the number of the sender's last probe on it. `heard`: that of the addressee's last one that
    came. `held`: microseconds since then. `standing`: what the sender makes of what comes to it (DOWN, DOUBT, UP); `sure`:
    whether anything ever came."""

    sent: int = 0
    heard: int = 0
    held: int = 0
    standing: int = UP
    sure: bool = False


class Probe(msgspec.Struct, frozen=True, array_like=True):
    """`uid`: chosen at random when the sender's prober started; `yours`: the addressee's, as the sender knows it. `active`:
    the sender wants to be probed often. `way`: by which it sends containers' packets to the addressee, `via` by which node.
    `reports`: one for each channel. `reach`: the numbers of the nodes that it has just heard, and that hear it, in
    sleeves; bit n for node n."""

    sender: str
    to: str
    uid: int
    yours: int
    active: bool
    way: int
    via: str
    reports: tuple[Report, ...]
    reach: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Probe).decode


def seal(probe: Probe) -> bytes:
    """What is the same in the probes of one round."""
    return _encode(probe)


def frame(message: bytes, channel: Channel, size: int, key: bytes) -> bytes:
    """What follows Ethernet's header. `size`: octets at least."""
    least = _HEAD.size + len(message) + _TAG
    said = max(size, least)
    head = _HEAD.pack(_MAGIC, channel, said, len(message))
    return b"".join((head, message, _tag(key, head, message), bytes(said - least)))


def read(data: bytes, key: bytes) -> tuple[Channel, Probe]:
    """Raises Invalid: it is no probe of this cluster, or not whole."""
    if len(data) < _HEAD.size + _TAG:
        raise Invalid("too short")
    magic, channel, size, length = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    message, tag = data[_HEAD.size : end], data[end : end + _TAG]
    if magic != _MAGIC or len(data) < size or end + _TAG > size:
        raise Invalid("not whole, or no probe")
    if not hmac.compare_digest(tag, _tag(key, data[: _HEAD.size], message)):
        raise Invalid("its sender has another mesh secret")
    try:
        probe = _decode(message)
        where = Channel(channel)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Invalid(f"of another version: {error}") from None
    if len(probe.reports) != len(Channel) or probe.way not in set(Way):
        raise Invalid("of another version")
    return where, probe


def _tag(key: bytes, head: bytes, message: bytes) -> bytes:
    return hashlib.blake2b(head + message, key=key, digest_size=_TAG).digest()


def numbers(found: list[int]) -> bytes:
    """As in `Probe.reach`."""
    bits = 0
    for number in found:
        bits |= 1 << number
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def among(number: int, reach: bytes) -> bool:
    octet = number >> 3
    return octet < len(reach) and bool(reach[octet] >> (number & 7) & 1)
