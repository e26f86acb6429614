"""Events that the log tells of under names that stay: in text `[store-lost]`, in JSON the key `event`. What else the log says
has no name, and may change its words.

An event is given to a line as `extra`: `log.warning("store lost: %s", reason, extra=STORE_LOST)`.
"""

from __future__ import annotations

from collections.abc import Mapping

EVENTS: dict[str, str] = {}
"""Name → what it means. All of them are declared below."""


def _event(name: str, meaning: str) -> Mapping[str, str]:
    EVENTS[name] = meaning
    return {"event": name}


AGENT_STARTED = _event("agent-started", "the agent answers")
AGENT_STOPPED = _event("agent-stopped", "the agent ends; the data plane stays as it is")
VERSION_BACK = _event("version-back", "a newer version of Weft ran on this host before")
NAME_KEPT = _event("name-kept", "the host has another name than the node")
UPLINK_CHOSEN = _event("uplink-chosen", "the uplink, and why it is that one")
UPLINK_CHANGED = _event("uplink-changed", "the uplink or its addresses are not what they were")

STORE_LOST = _event("store-lost", "the store does not answer; packets go on")
STORE_BACK = _event("store-back", "the store answers again")
STORE_JOINED = _event("store-joined", "this host belongs to a cluster from now on")
STORE_REFUSED = _event(
    "store-refused", "the store is not the one of this host's cluster, or has lost its data: nothing is taken from it"
)
STORE_RESTORED = _event("store-restored", "the store was put back to an earlier state")
STORE_ACCEPTED = _event("store-accepted", "what the store says counts again")
RECORD_BROKEN = _event("record-broken", "a record in the store cannot be read")
WRITTEN_BACK = _event("written-back", "something that the store had lost, and that runs, is in it again")
VOTERS_CHANGED = _event("voters-changed", "other hosts of a mesh keep its store")

NODE_MISSED = _event("node-missed", "a node is silent: routes to it are withdrawn")
NODE_BACK = _event("node-back", "a node is back, and the routes to it")
PATH_CHANGED = _event("path-changed", "packets of driver mesh go another way to a node")

SUBNET_MISSING = _event("subnet-missing", "this node has no subnet in a network")
OBJECTS_FAILING = _event("objects-failing", "something cannot be made in the kernel, and is tried again")
OBJECTS_MENDED = _event("objects-mended", "it can be made again")
DRIFT_REPAIRED = _event("drift-repaired", "what others removed or changed was put right")
CONNECTIONS_CUT = _event("connections-cut", "open connections that policy came to forbid were cut off")
OFFLINE_ATTACHED = _event("offline-attached", "a container was attached while the store is away")
OFFLINE_DETACHED = _event("offline-detached", "a container was detached while the store is away")

DAEMON_STARTED = _event("daemon-started", "BIRD, or another program in the agent's care, runs")
DAEMON_ENDED = _event("daemon-ended", "it had ended, and is started again")
TASK_FAILED = _event("task-failed", "a part of the agent met an error, and is started again")
