"""What BIRD answers on its control socket (`doc/reply_codes` in its source): sessions and routes.

Every line begins with a four-digit code and `-`, or a space in an answer's last; a line that begins with a space goes on
with the code of the one before. Times are Unix seconds: our configuration asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

PROTOCOL, DETAILS, ROUTE, NEXT_HOP, ATTRIBUTES = 1002, 1006, 1007, 1008, 1012


class Line(NamedTuple):
    code: int
    text: str


def lines(answer: str) -> Iterator[Line]:
    code = 0
    for raw in answer.splitlines():
        if raw[:4].isdecimal():
            code = int(raw[:4])
            yield Line(code, raw[5:])
        elif raw:
            yield Line(code, raw[1:])


def complete(answer: str) -> bool:
    """Whether the last line has come: its code is followed by a space."""
    if not answer.endswith("\n"):
        return False
    last = answer[:-1].rpartition("\n")[2]
    return last[:4].isdecimal() and last[4:5] == " "


class BirdProtocol(msgspec.Struct, frozen=True, kw_only=True):
    """A BGP protocol in BIRD. `state`: BGP's own ("Established"; RFC 4271 §8.2.2), "Down", or "Unknown" where BIRD does not
    say. `since`: of that; 0.0 where it is
    not told. `error`: the last one; it stays while the session is up again. `received`, `filtered`, `announced`: prefixes,
    `received` being those that were let in."""

    name: str
    state: str
    since: float
    error: str = ""
    received: int = 0
    filtered: int = 0
    announced: int = 0

    @property
    def up(self) -> bool:
        return self.state == "Established"


_ROUTES = re.compile(r"(\d+) (imported|filtered|exported)")


def protocols(answer: Iterable[Line]) -> dict[str, BirdProtocol]:
    """From `show protocols all`: BGP's, by name."""
    found: dict[str, BirdProtocol] = {}
    name = ""
    for code, text in answer:
        words = text.split()
        if code == PROTOCOL and len(words) >= 5:
            name = words[0] if words[1] == "BGP" else ""
            if name:
                found[name] = BirdProtocol(name=name, state="Down", since=_number(words[4]))
        elif code == DETAILS and name:
            key, _, value = text.strip().partition(":")
            found[name] = msgspec.structs.replace(found[name], **_detail(key, value.strip()))
    return found


def _detail(key: str, value: str) -> dict[str, object]:
    if key == "BGP state":
        return {"state": value}
    if key == "Last error":
        return {"error": value}
    if key == "Routes":
        counts = {what: int(count) for count, what in _ROUTES.findall(value)}
        return {
            "received": counts.get("imported", 0),
            "filtered": counts.get("filtered", 0),
            "announced": counts.get("exported", 0),
        }
    return {}


class BirdRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a prefix. `type`: unicast, blackhole, unreachable. `protocol`: that brought it. `best`: the one in use.
    `via`: next hops with their device, as BIRD writes them, "192.168.1.254 on eth0".
    `attributes`: BGP's, by BIRD's names without `BGP.`."""

    prefix: str
    type: str
    protocol: str
    since: float
    best: bool
    via: tuple[str, ...] = ()
    attributes: dict[str, str] = {}

    @property
    def next_hop(self) -> str:
        """BGP's; "" for what is this host's own. (With IPv6 a link-local one may follow it.)"""
        return self.attributes.get("next_hop", "").split(" ")[0]


_ROUTE = re.compile(
    r"(?P<prefix>\S+)?\s+(?P<type>\w+) \[(?P<protocol>\S+) (?P<since>\S+)(?: from \S+)?\] (?P<best>\*)?.*"
)


def routes(answer: Iterable[Line]) -> tuple[BirdRoute, ...]:
    """From `show route all`."""
    found: list[BirdRoute] = []
    for code, text in answer:
        head = _ROUTE.fullmatch(text) if code == ROUTE else None
        if head is not None:
            prefix = head["prefix"] or (found[-1].prefix if found else "")
            found.append(
                BirdRoute(
                    prefix=prefix,
                    type=head["type"],
                    protocol=head["protocol"],
                    since=_number(head["since"]),
                    best=head["best"] is not None,
                )
            )
        elif found and text[:1].isspace():
            found[-1] = _more(found[-1], text.strip())
    return tuple(found)


def _more(route: BirdRoute, text: str) -> BirdRoute:
    kind, _, rest = text.partition(" ")
    if kind in ("via", "dev"):
        via = rest if kind == "via" else f"on {rest}"
        return msgspec.structs.replace(route, via=(*route.via, via))
    if kind.startswith("BGP.") and kind.endswith(":"):
        return msgspec.structs.replace(route, attributes={**route.attributes, kind[4:-1]: rest.strip()})
    return route


def refusal(answer: Iterable[Line]) -> str:
    """What BIRD says is wrong, of an answer to a command; "" where nothing is (codes from 8000 are errors)."""
    return next((text for code, text in answer if code >= 8000), "")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
