"""Why a session is not up, and what to do about it, in words.

BIRD tells the last error of a session; the AS number that did not fit is in its log only. A TCP segment with a wrong MD5
signature (RFC 2385) the kernel drops without telling anyone, so a wrong password looks like silence: but it counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from weft.bgp.plan import PlannedSession
from weft.bgp.replies import BirdProtocol


class Signatures(msgspec.Struct, frozen=True, kw_only=True):
    """TCP segments that this host's kernel dropped in some time (TcpExt in /proc/net/netstat): `failure`: signed with
    another password; `missing`: not signed, though we have a password; `unexpected`: signed, though we have none;
    `distant`: of a smaller TTL than TTL security takes (RFC 5082): a router has passed them on."""

    failure: int = 0
    missing: int = 0
    unexpected: int = 0
    distant: int = 0

    def since(self, before: Signatures) -> Signatures:
        return Signatures(
            failure=self.failure - before.failure,
            missing=self.missing - before.missing,
            unexpected=self.unexpected - before.unexpected,
            distant=self.distant - before.distant,
        )


class Diagnosis(NamedTuple):
    """`reason`: what is wrong; "" where nothing is. `advice`: what to do."""

    reason: str
    advice: str


WELL = Diagnosis("", "")
_LOGGED = re.compile(r"<\w+> (\S+): (?:Error|Received): Bad peer AS: (\d+)")

_TABLE: tuple[tuple[str, str, str], ...] = (
    (
        "Hold timer expired",
        "nothing was heard from it for the hold time",
        "look whether {remote} is alive and the way to it is whole",
    ),
    (
        "Connection refused",
        "nothing listens on TCP port 179 of {remote}",
        "start its BGP speaker, or look at its address",
    ),
    ("No route to host", "{remote} does not answer on its link", "look whether it is alive, and at its address"),
    ("Network is unreachable", "there is no route to {remote}", "look at this host's routes"),
    (
        "Address already in use",
        "another program here listens on TCP port 179 of {local}",
        "stop it: `ss -ltnp sport = 179`",
    ),
    (
        "Cannot assign requested address",
        "this host no longer has the address {local}",
        "give it back to the uplink, or restart the agent",
    ),
    ("Connection rejected", "{remote} knows no neighbour {local}", "configure it there, with AS {own}"),
    ("Connection collision", "both ends connected at once", "nothing: it is tried again"),
    (
        "Bad BGP identifier",
        "{remote} has the same router id as this host",
        "give every speaker a router id of its own: nodes' are their IPv4 addresses",
    ),
    ("Unacceptable hold time", "one end does not take the other's hold time", "choose one of 3 s or more on both ends"),
    ("Administrative shutdown", "it was switched off on the other end", "switch it on there"),
    ("Administrative reset", "it was reset on the other end", "nothing: it comes back"),
    ("Maximum number of prefixes", "{remote} takes no more prefixes", "raise its limit, or announce fewer"),
)
"""Part of BIRD's error, the reason, what to do."""


def bad_as(log: Iterable[str]) -> dict[str, int]:
    """The last AS number complained of, by protocol, from BIRD's log."""
    return {found[1]: int(found[2]) for line in log if (found := _LOGGED.search(line))}


def verdict(
    session: PlannedSession, state: BirdProtocol, dropped: Signatures, asns: dict[str, int], own: int
) -> Diagnosis:
    """`dropped`: lately. `asns`: as of `bad_as`. `own`: this host's AS."""
    if state.up:
        return WELL
    if "Bad peer AS" in state.error:
        return _wrong_as(session, state.error, asns.get(session.name), own)
    if (found := _password(session, dropped)) is not WELL and "Received" not in state.error:
        return found
    for part, reason, advice in _TABLE:
        if part in state.error:
            words = {"remote": session.remote, "local": session.local, "own": own}
            return Diagnosis(reason.format_map(words), advice.format_map(words))
    if state.error and "Connection closed" not in state.error and "timed out" not in state.error:
        return Diagnosis(state.error, f"look into the log of {session.remote}'s BGP speaker")
    secret = ", whether it has the same password" if session.router and session.router.password else ""
    return Diagnosis(
        f"no answer from {session.remote}",
        f"look whether it is alive and speaks BGP, whether TCP port 179 is open on the way{secret}",
    )


def _wrong_as(session: PlannedSession, error: str, told: int | None, own: int) -> Diagnosis:
    if error.startswith("Received"):
        where = "its configuration" if session.router else f"the settings of {session.with_}'s agent"
        return Diagnosis(
            f"AS mismatch: {session.remote} does not expect AS {own}, which this host has", f"correct {where}"
        )
    is_what = f"says that it is AS {told}" if told else "says that it is another AS"
    reason = f"AS mismatch: {session.remote} {is_what}, configured is {session.asn}"
    if session.router is None:
        return Diagnosis(reason, "give all agents of the cluster the same settings, and look who else has this address")
    return Diagnosis(
        reason, f"correct `weft bgp peer add {session.with_} --asn {told or 'N'} --replace`, or the router"
    )


def _password(session: PlannedSession, dropped: Signatures) -> Diagnosis:
    have, router = bool(session.password), session.router is not None
    if have and dropped.failure:
        return Diagnosis(
            f"password mismatch: TCP segments with another password than ours were dropped ({dropped.failure} lately)",
            f"give {session.remote} and `weft bgp peer add {session.with_} --replace` the same password"
            if router
            else _AGENTS.format(other=session.with_),
        )
    if have and dropped.missing:
        return Diagnosis(
            f"password mismatch: {session.remote} uses none, we do ({dropped.missing} TCP segments dropped lately)",
            f"give {session.remote} the password, or take it away here"
            if router
            else _AGENTS.format(other=session.with_),
        )
    if not have and dropped.unexpected:
        return Diagnosis(
            f"password mismatch: {session.remote} uses one, we do not ({dropped.unexpected} TCP segments dropped lately)",
            "add the password here, or take it away there" if router else _AGENTS.format(other=session.with_),
        )
    if session.ttl_security and dropped.distant:
        return Diagnosis(
            f"TTL security: TCP segments that a router has passed on were dropped ({dropped.distant} lately)",
            f"switch it off for {session.with_}, or look why a router is on the way"
            if router
            else f"if a router or a proxy is between the two, give {session.with_} and this node different `segment` settings",
        )
    return WELL


_AGENTS = (
    "look whether the agent of {other} runs and reaches the store: all nodes make their passwords of the secret there"
)
