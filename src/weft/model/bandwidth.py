"""How much may flow to a container and from it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from weft.base.errors import Invalid
from weft.base.numbers import is_number

LEAST, MOST = 1_000, 10**12
"""Rates, bit/s: from where on a packet takes seconds, to what no device has."""
LARGEST_BURST = 2**32 - 1
"""Octets (TCA_TBF_BURST, linux/pkt_sched.h)."""

LABEL = "weft.bandwidth/"
"""A container's labels of this prefix and a field's name (with "-" for "_") stand for the field."""

_RATE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([kmgt]?)bit|([0-9]{1,15})", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """From the container's view: `ingress` is what it gets, `egress` what it sends; bit/s of Ethernet frames, None: as much
    as may be. `…_burst`: octets that may pass at once after a time of silence, None: as Weft finds good for the rate."""

    ingress: int | None = None
    ingress_burst: int | None = None
    egress: int | None = None
    egress_burst: int | None = None

    def __post_init__(self) -> None:
        for what, rate, burst in (
            ("ingress", self.ingress, self.ingress_burst),
            ("egress", self.egress, self.egress_burst),
        ):
            if rate is not None and not LEAST <= rate <= MOST:
                raise Invalid(f"{what} {rate} bit/s: a limit is from 1kbit to 1tbit; leave it out for none")
            if burst is not None and rate is None:
                raise Invalid(f"{what} burst {burst}: a burst is one of a limit: give the {what} rate too")
            if burst is not None and not 1 <= burst <= LARGEST_BURST:
                raise Invalid(
                    f"{what} burst {burst} octets: it is from 1 to {LARGEST_BURST}; leave it out for a good one"
                )

    def __str__(self) -> str:
        """ "ingress 100mbit, egress 50mbit (burst 65536)"."""
        limits = ("ingress", self.ingress, self.ingress_burst), ("egress", self.egress, self.egress_burst)
        return ", ".join(
            f"{what} {rate_text(rate)}" + (f" (burst {burst})" if burst is not None else "")
            for what, rate, burst in limits
            if rate is not None
        )


def parse_rate(text: str) -> int:
    """Bit/s, written as tc(8) takes it: "100mbit", "1.5gbit"; a bare number is bit/s. Raises Invalid."""
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise Invalid(f"'{text}' is not a rate: write it like 100mbit, 1.5gbit or 64000 (bit/s)")
    number, unit, plain = found.groups()
    return int(plain) if plain else round(float(number) * _UNITS[unit.lower()])


def parse_burst(text: str) -> int:
    """Octets. Raises Invalid."""
    if not is_number(text):
        raise Invalid(f"'{text}' is not a burst: write it in octets, like 65536")
    return int(text)


def rate_text(rate: int) -> str:
    """As `parse_rate` takes it."""
    unit = next((u for u in ("t", "g", "m", "k") if rate % _UNITS[u] == 0 and rate), "")
    return f"{rate // _UNITS[unit]}{unit}bit"


def labelled(labels: Mapping[str, str], given: Bandwidth | None) -> Bandwidth | None:
    """What is given, and where that is silent about a direction, what the labels say; None where both are silent.
    Raises Invalid."""
    found = msgspec.structs.asdict(given or Bandwidth())
    for label, text in labels.items():
        if label.startswith(LABEL):
            field = label.removeprefix(LABEL).replace("-", "_")
            if field not in found:
                raise Invalid(f"label {label}: there is none of that name; known are {', '.join(_labels())}")
            if given is None or getattr(given, field.removesuffix("_burst")) is None:
                found[field] = parse_burst(text) if field.endswith("_burst") else parse_rate(text)
    whole = Bandwidth(**found)
    return None if whole == Bandwidth() else whole


def _labels() -> list[str]:
    return [LABEL + name.replace("_", "-") for name in Bandwidth.__struct_fields__]
