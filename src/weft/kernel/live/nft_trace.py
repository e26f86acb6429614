"""Which rules of nftables a marked packet comes to in a namespace, and what each says (nft(8), "monitor trace").

The kernel tells it of packets that a rule has picked out (`meta nftrace set 1`), so there has to be such a rule. Ours are in a
table that is bound to the socket that made it (NFT_TABLE_F_OWNER, since Linux 5.12): nobody else can change it, `nft flush
ruleset` passes it over, and the kernel removes it when that socket is closed, however the process ends. Where a namespace has
no chains of its own there is nothing to tell, and no table is made.

The packet is picked by its mark: a token at the beginning of what it carries, looked for at the places where that begins in a
plain packet and in one inside a tunnel. So it is found whatever its addresses are translated to.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterable, Iterator

import msgspec

from weft.base.errors import Failed, Unsupported
from weft.base.net import Family
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attr, attributes, messages
from weft.kernel.plumbing.nfnl import NFGENMSG, Nftables, message

TABLE = "weft-trace"
"""The table's name begins so; the token follows, since several packets may be traced at once."""

_FAMILIES = {u.NFPROTO_INET: (u.NFPROTO_INET, u.AF_INET, u.AF_INET6), u.AF_BRIDGE: (u.AF_BRIDGE,)}
"""Family of a table of ours → those whose chains it is for."""
_NAMES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HOOKS = {"prerouting": 0, "output": 3}
_PRIORITY = -350
"""Before `raw` (-300), so before all that others have; after fragments are put together (-400)."""
_HEADER = {"tcp": 20, "udp": 8, "icmp": 8}
_IP = {4: 20, 6: 40}
_ECHO = {4: 8, 6: 128}
"""Types of echo requests."""
_UDP, _VXLAN, _ETHERNET = 8, 8, 14
_TRANSPORT, _EQUAL, _NFTRACE, _REGISTER = 2, 0, 12, 1
"""NFT_PAYLOAD_TRANSPORT_HEADER, NFT_CMP_EQ, NFT_META_NFTRACE, NFT_REG_1."""
_TYPES = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    -1: "continue",
    -2: "break",
    -3: "jump",
    -4: "goto",
    -5: "return",
}
_RECEIVE = 1 << 18


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that matched, or the end of a chain. `type`: "rule", "return" (the end of a chain that was jumped to), "policy".
    `verdict` as nft writes it; `to`: the chain that it leads to. `handle` 0: of a policy."""

    family: str
    table: str
    chain: str
    handle: int
    type: str
    verdict: str
    to: str = ""


def starts(protocol: str, family: Family) -> tuple[int, ...]:
    """Where the token is, in octets from the outermost transport header on: plain, in IP itself (ipip), in UDP, in VXLAN."""
    plain = _HEADER[protocol]
    inner = _IP[family] + plain
    return plain, inner, _UDP + inner, _UDP + _VXLAN + _ETHERNET + inner


Matches = tuple[tuple[int, bytes], ...]
"""Octets, each at its place from the transport header on."""


def _matches(token: bytes, protocol: str, family: Family) -> list[Matches]:
    """One for each place where it may be. An echo's reply has the token as well, so of ICMP the type counts, too."""
    kind = ((-_HEADER["icmp"], bytes((_ECHO[family],))),) if protocol == "icmp" else ()
    return [
        ((place, token), *((place + before, octets) for before, octets in kind)) for place in starts(protocol, family)
    ]


class NftTrace:
    """In one network namespace, from when it is made until it is closed. Raises Unsupported, Failed, NotFound, Denied."""

    def __init__(self, token: bytes, protocol: str, family: Family, ns: str = "") -> None:
        self._name, self._token = f"{TABLE}-{token.hex()}", token
        self._traced: set[bytes] = set()
        self._nft = netns.call(ns, Nftables)
        self._sock: socket.socket | None = None
        try:
            if (used := self._used()) and self._nft.netlink is not None:
                self._sock = netns.call(ns, _listening)
                for of in used:
                    self._install(of, _matches(token, protocol, family))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """The table ends with its socket."""
        self._nft.close()
        if self._sock is not None:
            self._sock.close()

    def _used(self) -> list[int]:
        return [of for of, asked in _FAMILIES.items() if any(self._nft.chains(family) for family in asked)]

    def _install(self, family: int, matches: Collection[Matches]) -> None:
        for _, refused in self._nft.transaction(list(_batch(family, self._name, matches)), None):
            if refused.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                raise Unsupported(f"the kernel's nftables cannot trace: {refused.text}")
            raise Failed(f"nftables does not take the rule that traces: {refused.text}")

    def read(self) -> list[Judged]:
        """What was told since the last call, in the packet's order."""
        found: list[Judged] = []
        while self._sock is not None:
            try:
                data = self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise Failed(f"nftables' trace: {error.strerror}") from None
                continue
            found += self._decoded(data)
        return found

    def _decoded(self, data: bytes) -> Iterator[Judged]:
        """Others may trace as well: ours are the packets that our table has seen, and, since the kernel's number of a packet
        changes with its addresses, those whose transport header goes on with the token (of TCP: has its first half as sequence
        number). A rule without a handle is the end of a chain, told twice."""
        for kind, _flags, start, end in messages(data):
            if kind != message(u.NFT_MSG_TRACE):
                continue
            parts = attributes(data, start + 16 + NFGENMSG.size, end)
            number = parts.get(u.NFTA_TRACE_ID, b"")
            header = parts.get(u.NFTA_TRACE_TRANSPORT_HEADER, b"")
            mine = _text(parts, u.NFTA_TRACE_TABLE) == self._name
            if mine or header[8:16] == self._token or header[4:8] == self._token[:4]:
                self._traced.add(number)
            if number in self._traced and not mine:
                judged = _judged(data[start + 16], parts)
                if judged.handle or judged.type != "rule":
                    yield judged


def _listening() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, u.NETLINK_NETFILTER)
    sock.bind((0, 0))
    sock.setsockopt(u.SOL_NETLINK, u.NETLINK_ADD_MEMBERSHIP, u.NFNLGRP_NFTRACE)
    return sock


def _judged(family: int, parts: dict[int, bytes]) -> Judged:
    verdict = attributes(parts.get(u.NFTA_TRACE_VERDICT, b""), 0, len(parts.get(u.NFTA_TRACE_VERDICT, b"")))
    code = struct.unpack(">i", verdict.get(u.NFTA_VERDICT_CODE) or parts.get(u.NFTA_TRACE_POLICY) or bytes(4))[0]
    return Judged(
        family=_NAMES.get(family, str(family)),
        table=_text(parts, u.NFTA_TRACE_TABLE),
        chain=_text(parts, u.NFTA_TRACE_CHAIN),
        handle=int.from_bytes(parts.get(u.NFTA_TRACE_RULE_HANDLE, b""), "big"),
        type=_TYPES.get(int.from_bytes(parts.get(u.NFTA_TRACE_TYPE, b""), "big"), ""),
        verdict=_VERDICTS.get(code, str(code)),
        to=_text(verdict, u.NFTA_VERDICT_CHAIN),
    )


def _text(parts: dict[int, bytes], kind: int) -> str:
    return parts.get(kind, b"").rstrip(b"\0").decode(errors="replace")


# -- what is written ---------------------------------------------------------------------------------------------------


def _batch(family: int, table: str, matches: Collection[Matches]) -> Iterator[Message]:
    name = table.encode() + b"\0"
    create = u.NLM_F_CREATE

    def write(kind: int, flags: int, *parts: bytes) -> Message:
        body = NFGENMSG.pack(family, 0, 0) + b"".join(parts)
        return Message(message(kind), u.NLM_F_REQUEST | flags, body)

    owner = attr(u.NFTA_TABLE_FLAGS, _be32(u.NFT_TABLE_F_OWNER))
    yield write(u.NFT_MSG_NEWTABLE, create, attr(u.NFTA_TABLE_NAME, name), owner)
    for chain, number in _HOOKS.items():
        hook = attr(u.NFTA_HOOK_HOOKNUM, _be32(number)) + attr(u.NFTA_HOOK_PRIORITY, _be32(_PRIORITY))
        yield write(
            u.NFT_MSG_NEWCHAIN,
            create,
            attr(u.NFTA_CHAIN_TABLE, name),
            attr(u.NFTA_CHAIN_NAME, chain.encode() + b"\0"),
            attr(u.NFTA_CHAIN_HOOK | u.NLA_F_NESTED, hook),
            attr(u.NFTA_CHAIN_TYPE, b"filter\0"),
        )
        for some in matches:
            yield write(
                u.NFT_MSG_NEWRULE,
                create | u.NLM_F_APPEND,
                attr(u.NFTA_RULE_TABLE, name),
                attr(u.NFTA_RULE_CHAIN, chain.encode() + b"\0"),
                attr(u.NFTA_RULE_EXPRESSIONS | u.NLA_F_NESTED, _expressions(some)),
            )


def _expressions(matches: Iterable[tuple[int, bytes]]) -> bytes:
    """`@th,PLACE,LENGTH == OCTETS` of each, then `meta nftrace set 1`."""
    one = attr(u.NFTA_DATA_VALUE, b"\x01")
    parts = [part for place, octets in matches for part in (_load(place, len(octets)), _compare(octets))]
    parts.append(_expression("immediate", (1, _be32(_REGISTER)), (2 | u.NLA_F_NESTED, one)))
    parts.append(_expression("meta", (2, _be32(_NFTRACE)), (3, _be32(_REGISTER))))
    return b"".join(parts)


def _load(place: int, length: int) -> bytes:
    return _expression("payload", (1, _be32(_REGISTER)), (2, _be32(_TRANSPORT)), (3, _be32(place)), (4, _be32(length)))


def _compare(octets: bytes) -> bytes:
    value = attr(u.NFTA_DATA_VALUE, octets)
    return _expression("cmp", (1, _be32(_REGISTER)), (2, _be32(_EQUAL)), (3 | u.NLA_F_NESTED, value))


def _expression(name: str, *parts: tuple[int, bytes]) -> bytes:
    """Attributes of NFTA_PAYLOAD_*, NFTA_CMP_*, NFTA_IMMEDIATE_*, NFTA_META_*, by their numbers."""
    data = b"".join(attr(kind, value) for kind, value in parts)
    inner = attr(u.NFTA_EXPR_NAME, name.encode() + b"\0") + attr(u.NFTA_EXPR_DATA | u.NLA_F_NESTED, data)
    return attr(u.NFTA_LIST_ELEM | u.NLA_F_NESTED, inner)


def _be32(value: int) -> bytes:
    return struct.pack(">I", value & 0xFFFFFFFF)
