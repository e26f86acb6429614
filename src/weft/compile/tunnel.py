"""The port of a network's tunnel: what comes to it is looked at also where the network is not on this host."""

from __future__ import annotations

from collections.abc import Iterator

from weft.base.errors import WeftError
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import guard
from weft.datapaths.driver import gather
from weft.hoststate import Contribution
from weft.hoststate.union import Source

NAME = "tunnel"


def _of_network(_: View, network: str) -> Iterator[Source]:
    yield Source(NAME, network)


def _contribute(known: Known, source: Source) -> Contribution | None:
    network = known.view.networks.get(source.network)
    if known.host is None or network is None:
        return None
    try:
        return gather(guard.cluster_tunnel(known.options(network).udp_port))
    except WeftError:  # told where the network itself is asked for
        return None


CONTRIBUTOR = Contributor(name=NAME, contribute=_contribute, of_network=_of_network)
