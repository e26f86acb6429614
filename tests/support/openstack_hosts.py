"""Hosts of an OpenStack cloud, made in a real neutron-server: a port each, in subnets that one router joins. And a proxy before
its API, which says no or nothing where a test wants that.
"""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import msgspec

from support.neutron_server import NeutronServer

_PASSED = ("HTTP_IF_MATCH", "HTTP_X_PROJECT_ID", "HTTP_X_ROLES", "CONTENT_TYPE")


class Proxy:
    """A WSGI application. `refuse`: status, body and headers by what a call's "METHOD path" contains; None: it is passed on
    after all, for this once. `away`: connections end without an answer. `project`: whose credentials all calls have; "" for
    the administrator's. `before`: called with "METHOD path" before a call is passed on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.refuse: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.once: set[str] = set()
        """Of `refuse`: those that are gone when they have been used."""
        self.away = False
        self.project = ""
        self.before: Callable[[str], None] = lambda _: None
        self.calls: list[str] = []
        self.written = 0
        """Calls that may have changed something."""

    def made(self) -> Counter[str]:
        """Calls that write, by method and last part of the path."""
        return Counter(
            call.split()[0] + " " + call.rsplit("/", 1)[1] for call in self.calls if not call.startswith("GET")
        )

    def well(self) -> None:
        """As it was in the beginning."""
        self.refuse.clear()
        self.once.clear()
        self.calls.clear()
        self.away, self.project, self.before = False, "", lambda _: None

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        call = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        if self.away:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        self.calls.append(call)
        for part, (status, said, headers) in tuple(self.refuse.items()):
            if part in call:
                if part in self.once:
                    del self.refuse[part]
                return _answer(start, status, said, headers)
        self.before(call)
        found = self._passed(environ, body)
        self.written += not call.startswith("GET")
        return _answer(start, *found)

    def _passed(self, environ: Mapping[str, Any], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        headers = {name.removeprefix("HTTP_").replace("_", "-"): environ[name] for name in _PASSED if environ.get(name)}
        if self.project:
            headers |= {"X-Project-Id": self.project, "X-Roles": "member,reader"}
        path = environ["PATH_INFO"] + (f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else "")
        request = urllib.request.Request(f"{self._url}{path}", body or None, headers, method=environ["REQUEST_METHOD"])
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read(), {}
        except urllib.error.HTTPError as error:
            return error.code, error.read(), {}


def _answer(start: Callable[..., Any], status: int, body: bytes, headers: Mapping[str, str]) -> list[bytes]:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    start(f"{status} X", list(fields.items()))
    return [body]


def neutron_error(kind: str, message: str) -> bytes:
    return json.dumps({"NeutronError": {"type": kind, "message": message, "detail": ""}}).encode()


def clouds_yaml(directory: Path, url: str, name: str = "lab") -> Path:
    """With one cloud, which is at this URL and asks for no credentials."""
    path = directory / "clouds.yaml"
    path.write_text(json.dumps({"clouds": {name: {"auth_type": "none", "network_endpoint_override": url}}}))
    return path


class Hosts(msgspec.Struct, kw_only=True):
    """`subnets`: ids by prefix. `ports`: ids by host. `groups`: the security group that all ports are in."""

    server: NeutronServer
    network: str
    router: str
    subnets: dict[str, str]
    ports: dict[str, str]
    group: str
    written: int = 0
    """How often something was, by this."""

    def routes(self) -> dict[str, set[str]]:
        """The router's: next hops by destination."""
        found: dict[str, set[str]] = {}
        for route in self.server.ask("GET", f"/v2.0/routers/{self.router}")["router"]["routes"]:
            found.setdefault(route["destination"], set()).add(route["nexthop"])
        return found

    def set_routes(self, *routes: tuple[str, str]) -> None:
        """These and no others: destination and next hop."""
        listed = [{"destination": to, "nexthop": hop} for to, hop in routes]
        self._write([], "")
        if listed:
            self._write(listed, "/add_extraroutes")  # which takes host bits, as the other call does not

    def add_route(self, destination: str, hop: str) -> None:
        self._write([{"destination": destination, "nexthop": hop}], "/add_extraroutes")

    def drop_route(self, destination: str, hop: str) -> None:
        self._write([{"destination": destination, "nexthop": hop}], "/remove_extraroutes")

    def _write(self, routes: list[dict[str, str]], call: str) -> None:
        self.server.ask("PUT", f"/v2.0/routers/{self.router}{call}", {"router": {"routes": routes}})
        self.written += 1

    def port(self, host: str) -> dict[str, Any]:
        return dict(self.server.ask("GET", f"/v2.0/ports/{self.ports[host]}")["port"])

    def pairs(self, host: str) -> list[str]:
        return [pair["ip_address"] for pair in self.port(host)["allowed_address_pairs"]]

    def set_pairs(self, host: str, *pairs: str, mac: str = "") -> None:
        """These and no others. `mac`: of all of them, if not the port's own."""
        listed = [{"ip_address": pair} | ({"mac_address": mac} if mac else {}) for pair in pairs]
        self.set_port(host, allowed_address_pairs=listed)

    def set_port(self, host: str, **values: object) -> None:
        self.server.ask("PUT", f"/v2.0/ports/{self.ports[host]}", {"port": values})
        self.written += 1

    def clear(self, host: str) -> None:
        """The router, and this host's port."""
        self.set_routes()
        self.set_port(host, port_security_enabled=True, security_groups=[self.group], allowed_address_pairs=[])


@contextlib.contextmanager
def hosts(server: NeutronServer, places: Mapping[str, Sequence[str]], gateways: Mapping[str, str]) -> Iterator[Hosts]:
    """`places`: host → its addresses with prefix length. `gateways`: the router's address by prefix. All goes at the end."""
    network = server.make("network", name="hosts")["id"]
    found = Hosts(server=server, network=network, router="", subnets={}, ports={}, group="")
    try:
        found.router = server.make("router", name="between")["id"]
        for prefix, gateway in gateways.items():
            version = ip_interface(gateway).version
            subnet = server.make("subnet", network_id=network, cidr=prefix, gateway_ip=gateway, ip_version=version)
            found.subnets[prefix] = subnet["id"]
            server.ask("PUT", f"/v2.0/routers/{found.router}/add_router_interface", {"subnet_id": subnet["id"]})
        for host, addresses in places.items():
            ips = [
                {"subnet_id": found.subnets[str(ip_interface(a).network)], "ip_address": str(ip_interface(a).ip)}
                for a in addresses
            ]
            made = server.make("port", name=host, network_id=network, fixed_ips=ips, device_owner="compute:nova")
            found.ports[host], [found.group] = made["id"], made["security_groups"]
        yield found
    finally:
        for port in found.ports.values():
            server.delete("port", port)
        if found.router:
            found.set_routes()
            for subnet in found.subnets.values():
                server.ask("PUT", f"/v2.0/routers/{found.router}/remove_router_interface", {"subnet_id": subnet})
            server.delete("router", found.router)
        server.delete("network", network)
