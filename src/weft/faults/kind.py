"""What a row of the catalogue says of a kind of fault."""

from __future__ import annotations

from typing import Literal

import msgspec

By = Literal["walk", "doctor", "live"]
"""Who names a fault: a walk over dumps (`weft trace`), a look at a host without a packet (`weft doctor`), a real packet
that was watched (`weft trace --live`)."""


class Kind(msgspec.Struct, frozen=True):
    """`id`: what `Outcome.fault` and `Finding.fault` are; it stays. `symptom`: what users see. `evidence`: where it shows.
    `fix`: a template of the command that mends it, on the host it is on; names in braces are what a finding fills in. "" is
    for what no command mends. `drops`: reason and kernel function of the drop that a watched packet ends with ("" of either:
    any)."""

    id: str
    symptom: str
    evidence: str
    fix: str = ""
    by: tuple[By, ...] = ("walk",)
    drops: tuple[tuple[str, str], ...] = ()


ALL: tuple[By, ...] = ("walk", "doctor", "live")
WALK: tuple[By, ...] = ("walk",)
WATCHED: tuple[By, ...] = ("walk", "live")
EXAMINED: tuple[By, ...] = ("walk", "doctor")
DOCTOR: tuple[By, ...] = ("doctor",)
LIVE: tuple[By, ...] = ("live",)
FOUND: tuple[By, ...] = ("doctor", "live")
