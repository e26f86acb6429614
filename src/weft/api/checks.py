"""What agents are asked, and answer, when the cluster's connectivity is tested (`weft check`). As in `weft.api.types`: keys are
stable."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from weft.api.types import Reply, Request
from weft.base.errors import Invalid
from weft.base.net import IPAddress

LONGEST = 600.0
"""Seconds for which probes stay, if nobody asks them for anything."""
MOST_TESTS = 2_000
"""In one request."""
LARGEST = 65_000
"""Octets of a packet."""
HOST = ""
"""In place of a probe: the host itself."""
_RUN = re.compile("[0-9a-f]{8}")

Kind = Literal["udp", "tcp", "connect", "ping", "name"]
"""Of a test. "udp": a datagram of `size` octets (with its headers, not to be cut on its way), answered by a small one. "tcp": a
connection to a probe, which answers. "connect": one to anybody, closed at once. "ping": an echo. "name": a question for
`name`, whose answer has to have the address."""


def check_run(run: str) -> str:
    """Raises Invalid."""
    if not _RUN.fullmatch(run):
        raise Invalid(f"'{run[:40]}' is not the id of a check: it is eight hexadecimal digits")
    return run


class PlaceProbes(Request, frozen=True, kw_only=True):
    """`run`: eight hexadecimal digits, by which all of one check is found again. `seconds`: for which the probes stay if they
    are not asked for anything; then their agent removes them. `networks`: none for all in which containers have addresses."""

    run: str
    seconds: float
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_run(self.run)
        if not 1 <= self.seconds <= LONGEST:
            raise Invalid(f"{self.seconds:g} seconds: probes stay from 1 to {LONGEST:g}")


class Probe(Reply, frozen=True, kw_only=True):
    """A container for the test. `tcp`, `udp`: ports at which it answers. `resolver`: whether it can ask for names.
    `reached`: its addresses as its own host reaches it, none where it does not."""

    id: str
    name: str
    network: str
    addresses: tuple[IPAddress, ...]
    mtu: int
    tcp: int
    udp: int
    resolver: bool = False
    reached: tuple[IPAddress, ...] = ()


class Unplaced(Reply, frozen=True, kw_only=True):
    network: str
    reason: str


class Placed(Reply, frozen=True, kw_only=True):
    """`local`: networks of which each host has its own, so that no other host's containers are reached."""

    node: str
    probes: tuple[Probe, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    local: tuple[str, ...] = ()


class Test(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: Kind
    target: IPAddress
    port: int = 0
    size: int = 0
    name: str = ""

    __test__ = False

    def __post_init__(self) -> None:
        if not 0 <= self.size <= LARGEST:
            raise Invalid(f"a packet of {self.size} octets is none that can be sent: {LARGEST} at most")
        if not 0 <= self.port <= 65_535:
            raise Invalid(f"port {self.port} does not exist: 0 to 65535 do")


class RunTests(Request, frozen=True, kw_only=True):
    """`probe`: the id of the endpoint that tests; "" for the host. `seconds`: for each answer. `at_once`: tests at the same
    time; `rate`: and no more than so many are begun in a second."""

    probe: str
    tests: tuple[Test, ...]
    seconds: float = 2.0
    at_once: int = 16
    rate: int = 200

    def __post_init__(self) -> None:
        if len(self.tests) > MOST_TESTS:
            raise Invalid(f"{len(self.tests)} tests in one request: {MOST_TESTS} at most")
        if not 0.1 <= self.seconds <= 30 or not 1 <= self.at_once <= 64 or not 1 <= self.rate <= 2_000:
            raise Invalid("tests have 0.1 to 30 seconds, are 1 to 64 at once, and 1 to 2000 begin in a second")


class Tested(Reply, frozen=True, kw_only=True):
    """Of one test. `error`: why not, in words; "" where it passed. `ms`: until the answer."""

    ms: float = 0.0
    error: str = ""


class Ran(Reply, frozen=True, kw_only=True):
    """In the order of the tests."""

    node: str
    results: tuple[Tested, ...]
