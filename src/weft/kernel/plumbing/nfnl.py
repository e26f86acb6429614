"""Speaking to nf_tables: which generation the rules are of, whether a table or chain exists, dumps, transactions (nfnetlink,
linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

from weft.base.errors import Failed
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, attr, attributes, open_socket

T = TypeVar("T")

NFGENMSG = struct.Struct("=BBH")
_UNKNOWN = (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)
"""EINVAL: the kernel has no nf_tables, or not this family."""


def message(kind: int) -> int:
    return u.NFNL_SUBSYS_NFTABLES << 8 | kind


class Nftables:
    """Of the calling thread's namespace. None and False where the kernel has no nf_tables. Raises Failed, Refused."""

    def __init__(self) -> None:
        self.netlink: Netlink | None
        """For other subsystems of netfilter, too."""
        try:
            self.netlink = Netlink(open_socket(u.NETLINK_NETFILTER))
        except OSError as error:
            if error.errno != errno.EPROTONOSUPPORT:  # that would be: the kernel has no nfnetlink
                raise Failed(f"nftables cannot be asked: {error.strerror}") from None
            self.netlink = None

    def close(self) -> None:
        if self.netlink is not None:
            self.netlink.close()

    def __enter__(self) -> Nftables:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def generation(self) -> int | None:
        """Changes with every change of any rule, set or chain."""
        answer = self._ask(u.NFT_MSG_GETGEN, 0, b"")
        found = attributes(answer, 4, len(answer)).get(u.NFTA_GEN_ID) if answer else None
        return int.from_bytes(found, "big") if found else None

    def has_table(self, family: int, table: str) -> bool:
        return self._ask(u.NFT_MSG_GETTABLE, family, attr(u.NFTA_TABLE_NAME, table.encode() + b"\0")) is not None

    def has_chain(self, family: int, table: str, chain: str) -> bool:
        body = attr(u.NFTA_CHAIN_TABLE, table.encode() + b"\0") + attr(u.NFTA_CHAIN_NAME, chain.encode() + b"\0")
        return self._ask(u.NFT_MSG_GETCHAIN, family, body) is not None

    def chains(self, family: int) -> list[tuple[str, str]]:
        """Table and name of each."""
        return self.dump(u.NFT_MSG_GETCHAIN, NFGENMSG.pack(family, 0, 0), _chain)

    def dump(self, kind: int, body: bytes, decode: Callable[[bytes, int, int], T | None]) -> list[T]:
        """As `Netlink.dump`, of messages of nf_tables. Nothing where there is no such table or set."""
        if self.netlink is None:
            return []
        try:
            return self.netlink.dump(message(kind), body, decode)
        except Refused as refused:
            if refused.errno in _UNKNOWN:
                return []
            raise

    @property
    def cookie(self) -> int:
        """Tells the namespace from all others (`netns.cookie`)."""
        return 0 if self.netlink is None else self.netlink.cookie

    @property
    def port(self) -> int:
        """By which the kernel tells who made a change. 0: of none."""
        return 0 if self.netlink is None else self.netlink.port

    def transaction(self, batch: Sequence[Message], generation: int | None) -> list[tuple[int, Refused]]:
        """All of it, if the kernel refuses nothing of it, else nothing: the refusals by position in `batch`. -1: of the whole,
        as when the rules are not of this `generation` (ERESTART; None: they may be of any), or when there is no nf_tables."""
        if self.netlink is None:
            return [(-1, Refused(errno.EOPNOTSUPP, "the kernel has no nftables"))]
        head = NFGENMSG.pack(u.AF_UNSPEC, 0, socket.htons(u.NFNL_SUBSYS_NFTABLES))
        begin = head if generation is None else head + attr(u.NFNL_BATCH_GENID, struct.pack(">I", generation))
        framed = [Message(u.NFNL_MSG_BATCH_BEGIN, u.NLM_F_REQUEST, begin), *batch]
        refused = self.netlink.at_once([*framed, Message(u.NFNL_MSG_BATCH_END, u.NLM_F_REQUEST, head)])
        return [(place - 1 if place <= len(batch) else -1, refusal) for place, refusal in refused]

    def _ask(self, kind: int, family: int, body: bytes) -> bytes | None:
        if self.netlink is None:
            return None
        try:
            return self.netlink.request(message(kind), 0, NFGENMSG.pack(family, 0, 0) + body)
        except Refused as refused:
            if refused.errno in _UNKNOWN:
                return None
            raise


def _chain(data: bytes, start: int, end: int) -> tuple[str, str]:
    found = attributes(data, start + NFGENMSG.size, end)
    table, name = (found[kind].rstrip(b"\0").decode() for kind in (u.NFTA_CHAIN_TABLE, u.NFTA_CHAIN_NAME))
    return table, name
