"""All targets by name, as drivers name them (`Driver.targets`). One is made when the first network needs it, and only then is
what it needs imported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from weft.targets.remote import Remote
from weft.targets.routes import Border

Make = Callable[[Border], Remote]
"""Given what of the cloud is Weft's."""


def _aws(border: Border) -> Remote:
    from weft.targets.aws import LIMITS, Aws

    return Remote(Aws(border, time.monotonic), LIMITS)


TARGETS: Mapping[str, Make] = {"aws": _aws}
