"""Requests that every agent has to refuse: as a stranger would send them, so they go to the API as they are."""

from __future__ import annotations

import json
from typing import Any

from chaos.model import FIFO, SPARE
from chaos.world import World
from weft.base.errors import Failed
from weft.client.connection import ask

_ATTACH = "/v1/endpoints"
_NETWORKS = "/v1/networks"


def _attach(**fields: Any) -> tuple[str, Any]:
    return _ATTACH, {"target": SPARE, "network": "vx", **fields}


def _network(**fields: Any) -> tuple[str, Any]:
    return _NETWORKS, {"network": {"name": "bad", "driver": "vxlan", "subnets": ["10.250.0.0/16"], **fields}}


REQUESTS: dict[str, tuple[str, Any]] = {
    "unknown network": _attach(network="nowhere"),
    "no such container": _attach(target="nobody"),
    "address outside of the network": _attach(addresses=["192.0.2.1"]),
    "address that is none": _attach(addresses=["10.61.0.300"]),
    "address with a scope": _attach(addresses=["fd60:1::5%x"]),
    "MAC of a group": _attach(mac="ff:ff:ff:ff:ff:ff"),
    "MAC that is none": _attach(mac="zz"),
    "interface name too long": _attach(interface="a-very-long-interface-name"),
    "interface name with a slash": _attach(interface="../eth0"),
    "port twice": _attach(
        ports=[
            {"host_port": 6999, "container_port": 80},
            {"host_port": 6999, "container_port": 81},
        ]
    ),
    "port out of range": _attach(ports=[{"host_port": 70000, "container_port": 80}]),
    "floating address of a network": _attach(network="rt", floating=["10.64.0.9"]),
    "unknown field": _attach(colour="red"),
    "wrong type": _attach(addresses=7),
    "a FIFO": _attach(target=FIFO),
    "a device": _attach(target="/dev/zero"),
    "the host's own namespace": _attach(target="/proc/self/ns/net"),
    "NUL in the target": _attach(target="a\0b"),
    "a directory": _attach(target="/"),
    "network that exists": _network(name="vx"),
    "network whose subnet overlaps": _network(subnets=["10.61.4.0/24"]),
    "network with a scoped subnet": _network(subnets=["fd00:7::%x/64"]),
    "network name with capitals": _network(name="Bad Name"),
    "network of an unknown driver": _network(driver="telepathy"),
    "network with a loopback subnet": _network(subnets=["127.5.0.0/16"]),
    "network with an unknown option": _network(options={"no-such": 1}),
    "not an object": (_NETWORKS, [1, 2, 3]),
}


def refused(world: World, what: str, host: str) -> None:
    """Sends it. Raises Failed where it is not refused as it should be, Unavailable where no agent answers."""
    path, body = REQUESTS[what]
    answer = ask(world.socket(host), world.patience, "POST", path, json.dumps(body).encode())
    said = answer.body.decode(errors="replace")
    if answer.status == 503:
        return  # the store is away: then nothing can be judged, and nothing is done
    message = _message(said)
    if not 400 <= answer.status < 500 or not message or len(message.splitlines()) != 1 or "defect" in message:
        raise Failed(f"wrong request ({what}) to {host} was answered {answer.status}: {said[:300]}")


def _message(said: str) -> str:
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
