"""Names for shell completion, asked from the agent. Without one there are none, and never an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from weft.base.errors import WeftError

if TYPE_CHECKING:
    from weft.client import Client

TIMEOUT = 0.5
"""Seconds; who pressed Tab waits for it."""

Names = list[tuple[str, str]]
"""Each with what the shell may show beside it."""


def networks(ctx: typer.Context, incomplete: str) -> Names:
    return _ask(ctx, lambda agent: ((n.name, n.driver) for n in agent.networks(brief=True)))


def nodes(ctx: typer.Context, incomplete: str) -> Names:
    return _ask(ctx, lambda agent: ((n.name, n.uplink) for n in agent.nodes()))


def endpoints(ctx: typer.Context, incomplete: str) -> Names:
    return _ask(ctx, lambda agent: ((e.name, f"{e.network} on {e.node}") for e in agent.endpoints()))


def services(ctx: typer.Context, incomplete: str) -> Names:
    def known(agent: Client) -> Names:
        found = [info.service for info in agent.services()]
        names = Counter(service.name for service in found)
        return [(s.name if names[s.name] == 1 else f"{s.network}/{s.name}", f"in network {s.network}") for s in found]

    return _ask(ctx, known)


def policies(ctx: typer.Context, incomplete: str) -> Names:
    """Policies, and what they rest on."""

    def written(agent: Client) -> Names:
        found = agent.policies()
        return [
            *((p.id, f"{p.kind} in tier {p.tier}") for p in found.policies),
            *((s.id, "network set") for s in found.network_sets),
            *((f"tier/{tier.name}", f"{tier.policies} policies") for tier in found.tiers),
            *((f"namespace/{n.name}", "namespace") for n in found.namespaces),
        ]

    return _ask(ctx, written)


def policy_namespaces(ctx: typer.Context, incomplete: str) -> Names:
    """Those that endpoints are in, or that have labels."""

    def used(agent: Client) -> Names:
        labelled = [(n.name, "") for n in agent.policies().namespaces]
        return [*labelled, *((e.policy_namespace, "") for e in agent.endpoints())]

    return _ask(ctx, used)


def targets(ctx: typer.Context, incomplete: str) -> Names:
    """What is attached on this node."""

    def here(agent: Client) -> Names:
        own = agent.status().node
        return [(e.container, e.network) for e in agent.endpoints(node=own)]

    return _ask(ctx, here)


def drivers(ctx: typer.Context, incomplete: str) -> Names:
    from weft.datapaths.registry import DRIVERS

    return [(d.name, d.summary) for d in DRIVERS.values()]


def _ask(ctx: typer.Context, names: Callable[[Client], Iterable[tuple[str, str]]]) -> Names:
    from weft.client import DEFAULT_SOCKET, Client

    path = ctx.find_root().params.get("socket") or DEFAULT_SOCKET  # callbacks do not run while completing
    try:
        return list(dict(names(Client(path, TIMEOUT))).items())
    except WeftError:
        return []
