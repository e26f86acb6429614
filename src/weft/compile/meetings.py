"""Which open connections go from one network to another that it may not reach any more (`weft.converge.connections`).

By networks' records alone: what was translated to a published port may pass all the same. So these are not dropped, but looked
up again packet by packet (`weft.compile.isolation.ANEW`), and one too many loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from weft.base.net import IPAddress, contains
from weft.cluster.view import View
from weft.compile.isolation import Group, groups
from weft.hoststate import HOST
from weft.model import Endpoint
from weft.policy.standing import Connection

Place = Mapping[IPAddress, Endpoint]
"""This host's endpoints, by each address that the host knows them by."""


class Meetings:
    """`own`: addresses that are in no network's subnets, with the network of each."""

    def __init__(self, known: Mapping[str, Group], own: Mapping[IPAddress, str]) -> None:
        self._groups = list({id(group): group for group in known.values()}.values())
        self._found: dict[IPAddress, Group | None] = {ip: known[name] for ip, name in own.items() if name in known}
        self._known: dict[tuple[bytes, bytes], bool] = {}

    def allows(self, _place: Place, connection: Connection) -> bool:
        """Whether its two ends may still talk, as far as it is up to networks."""
        ends = connection.source, connection.target
        if ends not in self._known:
            self._known[ends] = self._meet(self._group(ip_address(ends[0])), self._group(ip_address(ends[1])))
        return self._known[ends]

    def _meet(self, one: Group | None, other: Group | None) -> bool:
        if one is other:
            return True
        if one is None or other is None:
            return not any(n.internal for group in (one, other) if group for n in group.members)
        return one.meets(other)

    def _group(self, ip: IPAddress) -> Group | None:
        if ip not in self._found:
            self._found[ip] = next((g for g in self._groups if any(contains(s, ip) for s in g.subnets)), None)
        return self._found[ip]


def places(view: View, *, all: bool = False) -> dict[str, Place]:
    """Nothing where no two networks are apart. `all`: also then."""
    if not all and not any(n.reaches is not None for n in view.networks.values()):
        return {}
    found = {ip: e for e in view.endpoints.values() for ip in _addresses(e)}
    return {HOST: found} if found else {}


def standing(view: View) -> Meetings:
    own = {a.ip: e.network for e in view.endpoints.values() if e.gateway for a in e.gateway.addresses}
    return Meetings(groups(view.networks), own)


def _addresses(endpoint: Endpoint) -> list[IPAddress]:
    more = endpoint.gateway.addresses if endpoint.gateway else ()
    return [a.ip for a in (*endpoint.addresses, *more)]
