"""What container engines need of this host beside the agent, and how that is undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from weft.base.errors import Failed, NotFound
from weft.setup import systemd

DOCKER = "weft-docker.service"
CNI = Path("/opt/cni/bin/weft-cni")
_MARK = b"# Weft's CNI plugin, made by `weft cni install`"


def docker() -> str:
    """The plugin for Docker starts with the host, and now; what was done. Docker finds it by its socket. Raises NotFound,
    Failed."""
    if not systemd.runs():
        raise Failed("no systemd runs here: start the plugin by hand: `weft docker run`")
    unit = systemd.state(DOCKER)
    if not unit.there:
        raise NotFound(
            f"systemd knows no {DOCKER}: install Weft's package, or run `weft docker run` in a way of your own"
        )
    if unit.enabled and unit.active:
        return f"nothing to change: {DOCKER} runs, and starts with the host"
    systemd.start(DOCKER)
    systemd.enable(DOCKER)
    return f"{DOCKER} runs, and starts with the host"


def undo() -> Iterator[str]:
    """What of it was here, and is gone. Only on a host that was booted: in a lab units and /opt are the machine's."""
    if not systemd.runs():
        return
    unit = systemd.state(DOCKER)
    if unit.there and (unit.enabled or unit.active):
        systemd.stop(DOCKER)
        systemd.disable(DOCKER)
        yield f"the plugin for Docker ({DOCKER})"
    with suppress(OSError):
        if _MARK in CNI.read_bytes()[:300]:
            CNI.unlink()
            yield f"the CNI plugin {CNI}"
