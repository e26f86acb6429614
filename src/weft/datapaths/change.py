"""What of a network can be changed while containers are in it (`weft network set`). Each option says so itself, beside its help
text; what networks have whatever their driver is said at the end.

A change that is `live` is there on all hosts at once. One for `later` is taken at once as well, but part of what it is about
stays as it was, and the text says what. What is `fixed` never changes: the text says why, and is followed by the way out.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
from msgspec import Meta

ANEW = "make another network, and attach the containers to that"
NOT_AT_ONCE = "hosts do not change at one moment, and what they send each other meanwhile would be lost"
"""Why what two hosts have to agree on is fixed."""
ONE_BY_ONE = "hosts change one after the other, and what they send each other in that moment can be lost"


class Change(msgspec.Struct, frozen=True):
    """`text`: of `live`, what users should know; of the others see above. `instead`: the way out of what is fixed."""

    when: Literal["live", "later", "fixed"]
    text: str = ""
    instead: str = ""


LIVE = Change("live")


def live(text: str) -> Change:
    return Change("live", text)


def later(text: str) -> Change:
    return Change("later", text)


def fixed(why: str, instead: str = ANEW) -> Change:
    return Change("fixed", why, instead)


def option(description: str, change: Change) -> Meta:
    """What is said of an option of a driver's: its help text, and whether it can be changed."""
    return Meta(description=description, extra={"change": change})


def of_option(kind: Any) -> Change | None:
    """From the option's type. None: it does not say."""
    said = (meta.extra["change"] for meta in get_args(kind)[1:] if isinstance(meta, Meta) and meta.extra)
    return next(said, None)


OF_NETWORK: dict[str, Change] = {
    "name": fixed("containers, policies and services name it"),
    "driver": fixed("containers' interfaces and addresses are those of its driver"),
    "subnets": fixed("its containers have addresses out of them"),
    "pools": fixed("each of them is changed by itself", "`weft pool` adds, changes and removes them"),
    "options": LIVE,  # each of them says so itself
    "internal": LIVE,
    "mtu": LIVE,
    "share": fixed("its containers have addresses of the other network's subnets"),
    "bridge": fixed("Weft has chosen it"),
    "data": fixed("it is what the network is called elsewhere"),
    "labels": LIVE,
}
"""By the fields of `weft.model.Network`."""
