"""The same tests once more with all on the ordinary way, or while networks are switched between it and the fast path.

    WEFT_FAST=off ./dev test e2e -- -k 'policy_matrix or spoofing or services or routed_moves'
    WEFT_FAST=switched ./dev test e2e -- -k 'policy_matrix or spoofing or services or routed_moves'

As they come, tests run with whatever the kernel has for the fast path.
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import Literal, get_args

from weft.api import types as t
from weft.base.errors import Conflict, WeftError
from weft.client import Client
from weft.datapaths.registry import DRIVERS
from weft.model.network import OptionValue

Mode = Literal["on", "off", "switched"]
MODE = os.environ.get("WEFT_FAST", "on")
assert MODE in get_args(Mode), f"WEFT_FAST={MODE}: give one of {', '.join(get_args(Mode))}"
PAUSE = 1.0
"""Seconds from one switch to the next, of all networks: agents converge in between, which tests wait for."""
_never = threading.Event()
_networks: list[tuple[Client, str]] = []


def options(driver: str, given: dict[str, OptionValue]) -> dict[str, OptionValue]:
    """Of a network that is made now. What a test says itself stands."""
    return {"offload": "off", **given} if MODE == "off" and _may(driver, given) else given


def switch(agent: Client, network: str, driver: str, given: dict[str, OptionValue]) -> None:
    """To and fro, in turns with all others, as long as there is such a network."""
    if MODE == "switched" and "offload" not in given and _may(driver, given):
        _networks.append((agent, network))
        if len(_networks) == 1:
            threading.Thread(target=_switch_all, name="switch", daemon=True).start()


def _may(driver: str, given: dict[str, OptionValue]) -> bool:
    """Who shares another network's path has that one's options."""
    return "offload" in DRIVERS[driver].options.__struct_fields__ and "share" not in given


def _switch_all() -> None:
    for on in itertools.cycle(("off", "on")):
        for agent, network in list(_networks):
            _never.wait(PAUSE)
            try:
                agent.set_network(network, t.SetNetwork(options={"offload": on}))
            except Conflict:  # a test changes it at the same time
                continue
            except WeftError:
                _networks.remove((agent, network))
        if not _networks:
            return
