"""From an extension's name, revision and struct to what it means. A struct that is shorter than its revision's is one that is
not known here."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import msgspec

from weft.filters.model import Where
from weft.filters.state import Judged, Outcome, Run, Unknown
from weft.filters.xt import basic, connection, doubtful, nat, surroundings
from weft.filters.xt.match import Decode, Given, Match, doubt, judged
from weft.filters.xt.packet import parse
from weft.filters.xt.sets import Ipsets
from weft.filters.xt.target import HARMLESS, DecodeTarget, Target
from weft.filters.xt.target import TARGETS as PLAIN

MATCHES: dict[str, Decode] = {
    **basic.MATCHES,
    **connection.MATCHES,
    **surroundings.MATCHES,
    **doubtful.MATCHES,
}
TARGETS: dict[str, DecodeTarget] = {**PLAIN, **nat.TARGETS}
_KEPT = 20_000
_NOT_READ = (struct.error, IndexError, ValueError)


@lru_cache(maxsize=_KEPT)
def a_match(name: str, revision: int, info: bytes, family: int, sets: Ipsets) -> Match:
    decode = MATCHES.get(name) or doubtful.unknown(name)
    try:
        return decode(Given(info, revision, family, sets))
    except _NOT_READ:
        return Match("", doubt(f"what the match {name} of revision {revision} says, which is not known here"))


@lru_cache(maxsize=_KEPT)
def a_target(name: str, revision: int, info: bytes, family: int, sets: Ipsets) -> Target:
    unknown = Unknown(f"what the target {name} does, which is not known here")
    try:
        return TARGETS[name](Given(info, revision, family, sets))
    except (KeyError, *_NOT_READ):
        return Target("", lambda _run, _packet: unknown)


def match(name: str, revision: int, info: bytes, run: Run, sets: Ipsets) -> Judged:
    """Whether the packet is one of those that the match is for."""
    return judged(a_match(name, revision, info, _version(run.family), sets), run)


def target(
    name: str, revision: int, info: bytes, run: Run, where: Callable[[], Where], sets: Ipsets
) -> Outcome | Unknown:
    """What the target does. What it changes of the packet is changed in `run.seen`."""
    packet = parse(run.seen.octets, run.seen.protocol)
    if packet is None:
        return Unknown(f"what the target {name} does to a packet that is not of IP")
    outcome = a_target(name, revision, info, _version(run.family), sets).act(run, packet)
    if isinstance(outcome, Outcome) and outcome.translation is not None:
        placed = msgspec.structs.replace(outcome.translation, where=where())
        return msgspec.structs.replace(outcome, translation=placed)
    return outcome


def match_text(name: str, revision: int, info: bytes, family: str, sets: Ipsets) -> str:
    """As iptables-save writes it."""
    shown = a_match(name, revision, info, _version(family), sets).text
    if name == "conntrack" and shown.removeprefix("! ").startswith("--state"):
        name = "state"  # which iptables has the match conntrack do
    return f"-m {name} {shown}".rstrip()


def target_text(name: str, revision: int, info: bytes, family: str, sets: Ipsets) -> str:
    """As iptables-save writes it."""
    return f"-j {name} {a_target(name, revision, info, _version(family), sets).text}".rstrip()


def written(name: str) -> bool:
    """Whether the text of a match or target is whole, so that it names the rule to iptables."""
    return name in MATCHES or (name in TARGETS and name not in HARMLESS)


def touches(name: str) -> str:
    """What of a packet a target changes, as `Run.unsure` calls it; "" for nothing that matters."""
    return {
        "MARK": "mark",
        "CONNMARK": "mark",
        "TTL": "packet",
        "HL": "packet",
        "DSCP": "packet",
        "TOS": "packet",
    }.get(name, "")


def _version(family: str) -> Literal[4, 6]:
    return 6 if family == "ip6" else 4
