"""What there is to know of policy for connections that are open on this host (`weft.converge.connections`)."""

from __future__ import annotations

from weft.base.net import IPAddress
from weft.cluster.view import View
from weft.compile.policy import Policies, policies
from weft.policy.evaluate import Judge
from weft.policy.model import DIRECTIONS, Identity
from weft.policy.standing import Place, Standing


def places(view: View, *, all: bool = False) -> dict[str, Place]:
    """By namespace, the endpoints of this host that policies select. `all`: and the others."""
    known, found = view.derived(Policies), dict[str, dict[IPAddress, Identity]]()
    for key, local in known.index.local.items():
        if all or any(known.index.program(key, d).chains for d in DIRECTIONS):
            for gate in known.gates.get(key, ()):
                found.setdefault(gate.ns, {}).update(dict.fromkeys(gate.addresses, local.identity))
    return dict(found)


def standing(view: View) -> Standing:
    """What policy says as the view is now."""
    index = policies(view)
    nodes = {address.ip: node.name for node in view.nodes.values() for address in node.addresses}
    return Standing(Judge(index.world), index.at, nodes)
