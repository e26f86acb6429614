"""`weft doctor` where no agent runs yet: what an install would meet on this host, as far as it needs no model."""

from __future__ import annotations

import os
from collections.abc import Iterator

from weft.agent.resources import checkup, doctor
from weft.api import types as t
from weft.base.errors import WeftError
from weft.faults.examine import examine
from weft.faults.scene import Told
from weft.kernel.host import facts
from weft.kernel.host.dump import dump


def findings() -> tuple[t.Finding, ...]:
    """Blocking. Raises Denied, where it may not even look."""
    return tuple(_all())


def _all() -> Iterator[t.Finding]:
    there = facts.features() | facts.running()
    yield from doctor.features(there, [])
    yield from doctor.bandwidth(there)
    yield from doctor.bridge_rules(there)
    yield doctor.signatures(there)
    yield from checkup.tools()
    yield from checkup.other_bird()
    yield from checkup.firewalls()
    yield from checkup.neighbours(())
    yield checkup.clock()
    node = os.uname().nodename
    try:
        found = dump(node, {})
    except WeftError as error:
        yield t.Finding(check="dump", result="warning", detail=f"the kernel's tables are not at hand: {error}")
        return
    yield from examine({node: found}, Told())
