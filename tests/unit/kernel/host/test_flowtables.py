"""A flowtable is emptied by one transaction that makes it anew, with the rules that add to it where they were."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from weft.base.errors import Failed
from weft.hoststate import NftFlowDevice, NftFlowtable
from weft.hoststate.firewall import INET
from weft.kernel.host import flowtables
from weft.kernel.kinds import nft_wire
from weft.kernel.kinds.nft_wire import Adding
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Refused, attr

SHORT = NftFlowtable(name="short")
DEVICES = [NftFlowDevice(flowtable="short", dev=dev) for dev in ("eth0", "weft1")]


def expression(name: bytes) -> bytes:
    return attr(u.NFTA_LIST_ELEM | u.NLA_F_NESTED, attr(u.NFTA_EXPR_NAME, name + b"\0"))


ADD, COUNT = expression(b"ct") + expression(b"flow_offload"), expression(b"counter")


def rule(chain: str, handle: int, expressions: bytes, comment: bytes = b"") -> bytes:
    return nft_wire.new_rule(Adding(INET, chain, 0, expressions, comment)).body + attr(
        u.NFTA_RULE_HANDLE, handle.to_bytes(8, "big")
    )


class Kernel:
    """Of these rules; refuses so many transactions."""

    def __init__(self, rules: Sequence[bytes], *refusals: int) -> None:
        self._rules, self._refusals = rules, list(refusals)
        self.sent: list[Message] = []

    def generation(self) -> int | None:
        return 7

    def dump(self, kind: int, body: bytes, decode: Callable[[bytes, int, int], Any]) -> list[Any]:
        if kind == u.NFT_MSG_GETFLOWTABLE:
            return [(SHORT, DEVICES)] if self._rules else []
        return [found for data in self._rules if (found := decode(data, 0, len(data)))]

    def transaction(self, batch: Sequence[Message], generation: int | None) -> list[tuple[int, Refused]]:
        assert generation == 7
        self.sent = list(batch)
        return [(0, Refused(self._refusals.pop(0), "no"))] if self._refusals else []


def test_rules_come_back_where_they_were() -> None:
    rules = [
        rule("short", 1, ADD, b"one"),
        rule("short", 2, COUNT),
        rule("short", 3, ADD, b"two"),
        rule("short", 4, ADD, b"three"),
        rule("other", 5, COUNT),
    ]
    kernel = Kernel(rules)
    flowtables.renew(kernel)  # type: ignore[arg-type]
    again = [Adding(INET, "short", 4, ADD, b"three", 2), Adding(INET, "short", 3, ADD, b"two", 2)]
    again.append(Adding(INET, "short", 1, ADD, b"one"))
    assert kernel.sent == [
        *(nft_wire.del_rule(Adding(INET, "short", handle)) for handle in (1, 3, 4)),
        nft_wire.del_flowtable(SHORT),
        nft_wire.new_flowtable(SHORT),
        *(nft_wire.flow_device(device, new=True) for device in DEVICES),
        *map(nft_wire.new_rule, again),  # those behind the same one, the last first
    ]
    assert [message.flags & u.NLM_F_APPEND for message in kernel.sent[-3:]] == [u.NLM_F_APPEND] * 2 + [0]


def test_others_who_change_rules_meanwhile_do_not_matter() -> None:
    kernel = Kernel([rule("short", 1, ADD)], errno.ERESTART, errno.ENODEV)
    flowtables.renew(kernel)  # type: ignore[arg-type]
    with pytest.raises(Failed, match="cannot be emptied: no"):
        flowtables.renew(Kernel([rule("short", 1, ADD)], errno.EPERM))  # type: ignore[arg-type]


def test_nothing_is_sent_where_there_is_none() -> None:
    kernel = Kernel([])
    flowtables.renew(kernel)  # type: ignore[arg-type]
    assert kernel.sent == []
