"""BGP's settings and peers as documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources.bgp import Bgp
from weft.agent.resources.declared.part import Change, Plan
from weft.api import types as t
from weft.base.errors import Invalid
from weft.declared import bgp as form
from weft.declared.item import Item


class SettingsPart:
    kinds = frozenset((form.SETTINGS,))
    at_once = 1

    def __init__(self, parts: Parts, bgp: Bgp) -> None:
        self._parts, self._bgp = parts, bgp

    async def there(self) -> list[Item]:
        """None where they are the usual ones."""
        found = form.from_settings(self._parts.view.bgp)
        return [found] if found.spec != form.BgpSettingsSpec() else []

    def undeclared(self) -> Iterable[Item]:
        return [form.from_settings(self._parts.view.bgp)]

    async def find(self, item: Item) -> Item | None:
        return form.from_settings(self._parts.view.bgp)

    def settled(self, wanted: Item, found: Item | None) -> Item:
        return wanted

    async def check(self, change: Change, plan: Plan) -> None:
        return

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        for change in changes:
            await self._bgp.set_bgp(t.SetBgp(**msgspec.structs.asdict(form.to_settings(change.item))))


class PeersPart:
    kinds = frozenset((form.PEER,))
    at_once = 1

    def __init__(self, parts: Parts, bgp: Bgp) -> None:
        self._parts, self._bgp = parts, bgp

    async def there(self) -> list[Item]:
        return [form.from_peer(peer) for peer in self._parts.view.bgp_peers.values()]

    def undeclared(self) -> Iterable[Item]:
        return ()

    async def find(self, item: Item) -> Item | None:
        found = self._parts.view.bgp_peers.get(item.name)
        return None if found is None else form.from_peer(found)

    def settled(self, wanted: Item, found: Item | None) -> Item:
        peer = self._parts.view.bgp_peers.get(wanted.name)
        return wanted if peer is None else form.settled(wanted, peer)

    async def check(self, change: Change, plan: Plan) -> None:
        if change.after is None:
            return
        if change.after.spec.keep_password and not self._password(change.item.name):
            raise Invalid(
                f"bgp peer {change.item.name}: spec.keepPassword: there is no password here to keep: give spec.passwordFile"
            )
        self._bgp.check_peer(form.to_peer(change.after))

    def _password(self, name: str) -> str:
        peer = self._parts.view.bgp_peers.get(name)
        return "" if peer is None else peer.password

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        for change in changes:
            if change.after is None:
                await self._bgp.remove_bgp_peer(change.item.name)
            else:
                peer = form.to_peer(change.after, self._password(change.item.name))
                await self._bgp.add_bgp_peer(t.AddBgpPeer(peer=peer, replace=change.before is not None))
