"""The table of all contributors. Where two sources want different things in one place, the one whose name sorts first has it
(`weft.hoststate.union`): the order here says nothing."""

from __future__ import annotations

from weft.compile import (
    encryption,
    endpoint,
    floating,
    foreign,
    isolation,
    location,
    names,
    network,
    node,
    paths,
    peer,
    policy,
    ports,
    routing_mesh,
    segment,
    services,
    siblings,
    tunnel,
)
from weft.compile.contributor import Contributor

CONTRIBUTORS: tuple[Contributor, ...] = (
    node.CONTRIBUTOR,
    paths.CONTRIBUTOR,
    tunnel.CONTRIBUTOR,
    encryption.CONTRIBUTOR,
    network.CONTRIBUTOR,
    segment.CONTRIBUTOR,
    location.CONTRIBUTOR,
    peer.CONTRIBUTOR,
    foreign.CONTRIBUTOR,
    endpoint.CONTRIBUTOR,
    ports.CONTRIBUTOR,
    names.CONTRIBUTOR,
    floating.CONTRIBUTOR,
    *services.CONTRIBUTORS,
    siblings.CONTRIBUTOR,
    isolation.CONTRIBUTOR,
    isolation.ENDPOINTS,
    *routing_mesh.CONTRIBUTORS,
    *policy.CONTRIBUTORS,
)
