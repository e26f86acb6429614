"""Questions for names that a container asks at 127.0.0.11 go to the agent's sockets in its namespace.

The sockets listen at ports of their own, so that the container may have a name server at port 53. Where they are is no part of
the model: the agent tells (`Known.resolvers`). Of a namespace for which nothing is told, nothing is wanted.

Docker has a resolver of its own at the same address in the networks that users make, and translates to it in the same hook.
Ours comes before it, by its priority.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.base.errors import WeftError
from weft.cluster.follower import Part
from weft.cluster.view import View
from weft.compile.contributor import Needs
from weft.compile.endpoint import for_each
from weft.compile.known import Known
from weft.datapaths import registry
from weft.hoststate import Contribution, NftChain, Object
from weft.hoststate.firewall import DSTNAT, FILTER, Hook
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP, Nat
from weft.hoststate.rules.matches import DADDR, SADDR, TCP_DPORT, UDP_DPORT, field
from weft.model import Endpoint, records
from weft.services.record import CONDITIONS

NAME = "names"
ADDRESS = "127.0.0.11"
BEFORE_DOCKER = DSTNAT - 1


def served(view: View, network: str) -> bool:
    """Whether containers of a network can ask for names."""
    found = view.networks.get(network)
    if found is None:
        return False
    try:
        return registry.parse_options(found).dns == "on"
    except WeftError:  # made by another version of Weft: told where the network itself is asked for
        return False


def _contribute(known: Known, endpoint: Endpoint) -> Contribution | None:
    """Of several interfaces in one namespace, all want the same."""
    found = known.resolvers.get(endpoint.namespace.path)
    if found is None or not served(known.view, endpoint.network):
        return None
    if not found.port:
        return Contribution(problems=(f"container {endpoint.name} cannot ask for names: {found.trouble}",))
    return Contribution(objects=tuple(_rules(endpoint.namespace.path, found.port)))


def _rules(ns: str, port: int) -> Iterator[Object]:
    asked = DADDR[4].is_(ADDRESS)
    translated = Nat("dnat", 4, to=ADDRESS, port=port)
    yield NftChain(
        name="names",
        hook=Hook(type="nat", hook="output", priority=BEFORE_DOCKER),
        rules=tuple(rule(asked, at.is_(53), translated) for at in (UDP_DPORT, TCP_DPORT)),
        ns=ns,
    )
    # While the agent is started again nobody listens. A question that gets no answer is asked again after some seconds; one
    # that is refused fails at once.
    yield NftChain(
        name="names-wait",
        hook=Hook(type="filter", hook="input", priority=FILTER),
        rules=(rule(SADDR[4].is_(ADDRESS), field("icmp type").is_("destination-unreachable"), DROP),),
        ns=ns,
    )


def _parts(view: View) -> Iterator[Part]:
    """Where the others are in the networks of the containers here, and whether members of their services take connections."""
    for network in {endpoint.network for endpoint in view.endpoints.values()}:
        if served(view, network):
            yield records.LOCATIONS, network
            yield CONDITIONS, network


CONTRIBUTOR = for_each(NAME, _contribute, needs=Needs((records.NETWORKS, records.ENDPOINTS), _parts))
