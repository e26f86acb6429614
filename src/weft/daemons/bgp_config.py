"""What BIRD is to be told: the model as BIRD's configuration, without the routers that BIRD cannot do with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from weft.base.errors import Unavailable, WeftError
from weft.bgp import config
from weft.bgp.plan import Model, PlannedSession, Speaker, speaker
from weft.cluster.view import View
from weft.daemons.resident import ConfigRefused
from weft.model import BgpPeer, Node, keys


class Configured(Protocol):
    """`weft.daemons.bird.Bird`, as far as its configuration goes."""

    log: Path

    def configured(self) -> str: ...
    def check(self, text: str) -> None: ...
    def configure(self, text: str) -> None: ...


class BgpConfig:
    """`wanted`: what BIRD is told, or None where it is not to run."""

    def __init__(
        self, view: View, node: Callable[[], Node | None], bird: Configured, make_secret: Callable[[], Awaitable[None]]
    ) -> None:
        """`node`: this host, once it is known. `make_secret`: has the cluster's secret in the store and the view."""
        self._view, self._node, self._bird, self._make_secret = view, node, bird, make_secret
        self._refused: dict[BgpPeer, str] = {}
        """Routers that BIRD cannot do with, and why."""
        self.wanted: Speaker | None = None

    # What is wanted.

    async def decide(self) -> Speaker | None:
        """All that the model says; None where BGP is not spoken here. Raises Unavailable."""
        me = self._node()
        if me is None:
            raise Unavailable("this host's own addresses are not known yet")
        wanted = speaker(me, self.model())
        if wanted is not None and any(s.signed for s in wanted.sessions) and not self._view.has_bgp_secret():
            await self._have_secret(wanted)
            wanted = speaker(me, self.model())
        self.wanted = wanted
        return wanted

    async def _have_secret(self, wanted: Speaker) -> None:
        """Where it is only the store that no longer has it, sessions do not have to wait. Raises Unavailable."""
        try:
            await self._make_secret()
        except WeftError as error:
            if wanted.unsigned:
                raise Unavailable(f"no secret for the BGP sessions between nodes yet: {error}") from None

    def model(self) -> Model:
        view = self._view
        return Model(
            nodes=view.nodes,
            networks=view.networks,
            leases=view.leases,
            endpoints=view.endpoints.values(),
            settings=view.bgp,
            peers=view.bgp_peers,
            floating=view.floating.values(),
            present=view.present,
            registered={name: view.revision(keys.node(name)) for name in view.nodes},
            secret=view.bgp_secret,
        )

    # BIRD has it.

    def has(self, wanted: Speaker) -> bool:
        """All of what is wanted but for routers that BIRD could not do with as they are now."""
        self._refused = {s.router: self._refused[s.router] for s in wanted.sessions if s.router in self._refused}
        self.wanted = self._without_refused(wanted)
        return self._bird.configured() == self._text(self.wanted)

    def configure(self, wanted: Speaker) -> None:
        """A router that BIRD cannot do with costs itself only. Raises ConfigRefused where something else is amiss; Failed,
        Unavailable, Unsupported."""
        self.wanted = self._without_refused(wanted)
        try:
            self._bird.configure(self._text(self.wanted))
        except ConfigRefused:
            self._refused = self._seek(wanted)
            if not self._refused:
                raise
            self.wanted = self._without_refused(wanted)
            self._bird.configure(self._text(self.wanted))

    def _text(self, wanted: Speaker) -> str:
        return config.render(wanted, str(self._bird.log))

    def _without_refused(self, whole: Speaker) -> Speaker:
        sessions = tuple(s for s in whole.sessions if s.router not in self._refused)
        told = (
            f"bgp peer {peer.name}: {why}: correct it with `weft bgp peer add {peer.name} --replace`, or remove it"
            for peer, why in self._refused.items()
        )
        return msgspec.structs.replace(whole, sessions=sessions, problems=(*whole.problems, *told))

    def _seek(self, whole: Speaker) -> dict[BgpPeer, str]:
        """The routers that BIRD refuses, tried one by one; none where it refuses what is left without them as well."""
        if self._complaint(whole, None):
            return {}
        routers = [s for s in whole.sessions if s.router is not None]
        return {s.router: why for s in routers if s.router and (why := self._complaint(whole, s))}

    def _complaint(self, whole: Speaker, router: PlannedSession | None) -> str:
        """BIRD's about what is wanted, of all routers with this one only; "" where there is none."""
        sessions = tuple(s for s in whole.sessions if s.router is None or s is router)
        try:
            self._bird.check(self._text(msgspec.structs.replace(whole, sessions=sessions)))
        except ConfigRefused as error:
            return str(error)
        return ""
