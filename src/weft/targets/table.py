"""All targets by name, as drivers name them (`Driver.targets`). One is made when the first network needs it, and only then is
what it needs imported."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from weft.targets.remote import Remote
from weft.targets.routes import Border

Make = Callable[[Border, str], Remote]
"""Given what of the cloud is Weft's, and which of several clouds it is, where the agent's settings name one."""


def _aws(border: Border, _cloud: str) -> Remote:
    from weft.targets.aws import LIMITS, Aws

    return Remote(Aws(border, time.monotonic), LIMITS)


def _openstack(border: Border, cloud: str) -> Remote:
    from weft.openstack.cloud import Cloud
    from weft.targets.openstack import LIMITS, OpenStack

    return Remote(OpenStack(border, time.monotonic, Cloud(cloud)), LIMITS)


TARGETS: Mapping[str, Make] = {"aws": _aws, "openstack": _openstack}
