"""Labels, namespace, aliases and names of ports of an endpoint are changed while it runs. Policy and names follow at once, on
all hosts."""

from __future__ import annotations

import msgspec

from weft.api import limits
from weft.api import types as t
from weft.base.errors import NotFound
from weft.base.names import check_texts
from weft.cluster.cluster import Cluster
from weft.endpoints.attach import Attachments
from weft.endpoints.change import Changes
from weft.model import Endpoint


class Labels:
    def __init__(self, cluster: Cluster, attachments: Attachments) -> None:
        self._changes = Changes(cluster, attachments)

    async def change(self, found: t.EndpointInfo, request: t.Label) -> Endpoint:
        """Raises NotFound, Invalid, Unavailable, Failed."""
        return await self._changes.change(found, lambda now: labelled(now, request))


def labelled(now: Endpoint, request: t.Label) -> Endpoint:
    """The endpoint as it is asked for. Raises NotFound, Invalid."""
    if strange := [key for key in request.remove if key not in now.labels]:
        has = ", ".join(now.labels) or "none"
        raise NotFound(f"endpoint {now.name} has no label {strange[0][:80]}: it has {has}")
    names = {port.name for port in now.named_ports}
    if strange := [name for name in request.remove_ports if name not in names]:
        has = ", ".join(sorted(names)) or "none"
        raise NotFound(f"endpoint {now.name} has no port called {strange[0][:80]}: it has {has}")
    labels = {key: value for key, value in now.labels.items() if key not in request.remove} | request.labels
    check_texts(f"endpoint {now.name}", labels)
    told = {(port.name, port.protocol) for port in request.named_ports}
    kept = (p for p in now.named_ports if p.name not in request.remove_ports and (p.name, p.protocol) not in told)
    ports = (*kept, *request.named_ports)
    limits.at_most(f"endpoint {now.name}: named ports", ports, limits.NAMED_PORTS)
    namespace = request.policy_namespace or now.policy_namespace
    if strange := [name for name in request.remove_aliases if name not in now.aliases]:
        has = ", ".join(now.aliases) or "none"
        raise NotFound(f"endpoint {now.name} has no alias {strange[0][:80]}: it has {has}")
    held = dict.fromkeys((*now.aliases, *request.aliases))
    aliases = tuple(alias for alias in held if alias not in request.remove_aliases)
    return msgspec.structs.replace(now, labels=labels, named_ports=ports, policy_namespace=namespace, aliases=aliases)
