"""Whom `weft trace` asks: the agents; this host itself where none runs, or where it knows of no such container."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import typer

from weft.base.errors import NotFound, Unavailable
from weft.cli.session import client, session
from weft.inspect.dumping import Hosts
from weft.inspect.export import read

if TYPE_CHECKING:
    from weft.trace.collect import Agent
    from weft.trace.path import Trace


def asked(ctx: typer.Context, ends: Sequence[str], files: Sequence[str], follow: Callable[[Agent], Trace]) -> Trace:
    """What `follow` makes of what they tell. `files`: of other hosts. Raises what the local agent says, where its socket was
    named."""
    agent, beside = client(ctx), [read(path) for path in files]
    try:
        return follow(Hosts(ends, beside, agent)) if beside else _by_agents(agent, ends, follow)
    except Unavailable as error:
        if session(ctx).socket:
            raise
        hosts = Hosts(ends, beside)
        try:
            found = follow(hosts)
        except NotFound as unknown:  # perhaps only since nobody could be asked
            raise NotFound(f"{unknown}; only this host was looked at: {error}") from None
        note = f"the agent could not tell, so this is what this host alone shows: {error}"
        return msgspec.structs.replace(found, notes=(*found.notes, *hosts.notes, note))


def _by_agents(agent: Agent, ends: Sequence[str], follow: Callable[[Agent], Trace]) -> Trace:
    """With what is seen of this host itself, if that has a container that is meant and that no agent knows."""
    found: Trace | NotFound
    try:
        found = follow(agent)
        if found.arrived:
            return found
    except NotFound as unknown:
        found = unknown
    hosts = Hosts(ends, agent=agent)
    if hosts.strangers:
        return follow(hosts)
    if isinstance(found, NotFound):
        raise found
    return found
