"""How fast a device sends: token buckets, and what turns a device's received packets into another's sent ones.

Other programs limit devices of ours too (a CNI plugin chained behind Weft's, an administrator by hand), so being on a
device of ours does not make these ours. Each has a mark of its own.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

HANDLE = 0x5746
"""Ownership mark of a qdisc, on a device of ours: its handle is "5746:" ('WF'), as tc(8) writes it."""

PREF = HANDLE
"""Ownership mark of a filter, on a device of ours: its preference is this, 22342."""


class Qdisc(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A token bucket (tc-tbf(8)) at the root of what `dev` sends. `rate` in bit/s, a multiple of 8; `burst`: octets the
    bucket holds; `limit`: octets that may wait for tokens, beyond which packets are dropped. Frames with their Ethernet
    header count."""

    kind: ClassVar[str] = "qdisc"

    dev: str
    rate: int
    burst: int
    limit: int
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("qdisc", self.ns, self.dev)


class Redirect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Every frame that `dev` receives is first sent through the ifb device `to`, and then goes on as received by `dev`: a
    u32 filter that matches all, with the action mirred (tc-mirred(8)), on `dev`'s ingress qdisc. That qdisc has no handle
    of its own and may hold others' filters too: it is made where it is missing, and left to end with its device."""

    kind: ClassVar[str] = "redirect"

    dev: str
    to: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("redirect", self.ns, self.dev)
