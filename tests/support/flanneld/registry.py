"""etcd by its JSON gateway, and the keys and values of flannel's registry."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

TTL = 86400
"""Seconds of a lease."""
_KEY = re.compile(r"/(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&([0-9a-f:]+)-(\d+))?$")

Json = dict[str, Any]


class Compacted(Exception):
    """A watch begins at changes that etcd has forgotten."""


@dataclass(frozen=True)
class Lease:
    """`value`: the JSON of its key. `left`: seconds of its etcd lease; -1 without one."""

    subnet: IPv4Network
    value: Json
    left: int = TTL

    @property
    def public_ip(self) -> str:
        return str(self.value.get("PublicIP", ""))

    @property
    def backend(self) -> str:
        return str(self.value.get("BackendType", ""))

    @property
    def data(self) -> Json:
        found = self.value.get("BackendData")
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Event:
    """`lease`: None where the key is gone."""

    subnet: IPv4Network
    lease: Lease | None


class Registry:
    """`endpoint`: HOST:PORT of an etcd."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self._endpoint = endpoint
        self._prefix = prefix.rstrip("/")
        self._subnets = f"{self._prefix}/subnets"  # lists and watches go by this, without a slash at its end

    def config(self) -> Json | None:
        found = self._call("kv/range", {"key": _b64(f"{self._prefix}/config")}).get("kvs", [])
        loaded: Json | None = json.loads(_text(found[0]["value"])) if found else None
        return loaded

    def list(self) -> tuple[list[Lease], int]:
        """All leases that can be read, and the revision at which they were so."""
        answer = self._call("kv/range", _prefixed(self._subnets))
        found = [lease for kv in answer.get("kvs", []) if (lease := self._read(kv))]
        return found, int(answer["header"]["revision"])

    def create(self, subnet: IPv4Network, value: Json) -> bool:
        """Whether there was no such key."""
        key = _b64(self._key(subnet))
        put = {"key": key, "value": _b64(json.dumps(value)), "lease": self._grant()}
        absent = {"key": key, "target": "VERSION", "result": "EQUAL", "version": "0"}
        answer = self._call("kv/txn", {"compare": [absent], "success": [{"request_put": put}]})
        return bool(answer.get("succeeded", False))

    def renew(self, subnet: IPv4Network, value: Json) -> None:
        """By a new etcd lease and a put that asks nothing: the old etcd lease is left to run out without a key."""
        put = {"key": _b64(self._key(subnet)), "value": _b64(json.dumps(value)), "lease": self._grant()}
        self._call("kv/put", put)

    def delete(self, subnet: IPv4Network) -> None:
        self._call("kv/deleterange", {"key": _b64(self._key(subnet))})

    def watch(self, revision: int) -> Iterator[tuple[int, list[Event]]]:
        """What changes from `revision` on, and how far that is. Raises Compacted, OSError."""
        create = {**_prefixed(self._subnets), "start_revision": str(revision)}
        with closing(http.client.HTTPConnection(self._endpoint)) as connection:
            headers = {"Grpc-Metadata-hasleader": "true"}
            connection.request("POST", "/v3/watch", json.dumps({"create_request": create}), headers)
            for line in connection.getresponse():
                result = json.loads(line).get("result", {})
                if int(result.get("compact_revision", 0)):
                    raise Compacted
                if result.get("canceled"):
                    raise ConnectionError(result.get("cancel_reason", "the watch was cancelled"))
                events = [event for raw in result.get("events", []) if (event := self._event(raw))]
                yield int(result["header"]["revision"]), events
        raise ConnectionError("the watch has ended")

    def _event(self, raw: Json) -> Event | None:
        kv = raw["kv"]
        if raw.get("type") == "DELETE":
            subnet = subnet_of(_text(kv["key"]))
            return subnet and Event(subnet, None)
        lease = self._read(kv)
        return lease and Event(lease.subnet, lease)

    def _read(self, kv: Json) -> Lease | None:
        """None for what is no lease. Each asks etcd how long it has, and is left out where etcd does not say."""
        subnet = subnet_of(_text(kv["key"]))
        try:
            value = json.loads(_text(kv["value"]))
        except ValueError:
            return None
        if subnet is None or not isinstance(value, dict):
            return None
        try:
            left = int(self._call("lease/timetolive", {"ID": kv.get("lease", "0")}).get("TTL", -1))
        except OSError:
            return None
        return Lease(subnet, value, left)

    def _key(self, subnet: IPv4Network) -> str:
        return f"{self._subnets}/{subnet.network_address}-{subnet.prefixlen}"

    def _grant(self) -> str:
        return str(self._call("lease/grant", {"TTL": str(TTL)})["ID"])

    def _call(self, method: str, body: Json) -> Json:
        with closing(http.client.HTTPConnection(self._endpoint, timeout=5)) as connection:
            connection.request("POST", f"/v3/{method}", json.dumps(body))
            reply = connection.getresponse()
            answer: Json = json.loads(reply.read())
        if reply.status != http.client.OK:
            raise ConnectionError(f"etcd: {method}: {answer.get('error', reply.status)}")
        return answer


def subnet_of(key: str) -> IPv4Network | None:
    """The v4 subnet that a key is about; None for a key of another form."""
    found = _KEY.search(key)
    try:
        return IPv4Network(f"{found[1]}/{found[2]}") if found else None
    except ValueError:
        return None


def _prefixed(prefix: str) -> Json:
    last = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": _b64(prefix), "range_end": _b64(last)}


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(data: str) -> str:
    return base64.b64decode(data).decode()
