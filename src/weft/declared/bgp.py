"""How BGP is spoken, and with which routers.

A password is never written. A document that is made of a peer with one says `keepPassword: true`, and applying that keeps it;
where there is none to keep it is refused, so that nobody loses a password without a word.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from weft.base.errors import Invalid
from weft.base.net import IPAddress
from weft.declared import own as documents
from weft.declared.item import Item, Spec
from weft.declared.own import own
from weft.model import BgpPeer, BgpSettings
from weft.model.bgp import ALL

SETTINGS, PEER = "BgpSettings", "BgpPeer"
ONLY = "default"
"""What a cluster's settings are called."""
_USUAL = BgpSettings()


class BgpSettingsSpec(Spec, frozen=True, kw_only=True):
    """As `weft.model.bgp.BgpSettings`."""

    asn: int = _USUAL.asn
    hold_time: int = _USUAL.hold_time
    graceful_restart: int = _USUAL.graceful_restart
    mesh: bool = _USUAL.mesh


class BgpPeerSpec(Spec, frozen=True, kw_only=True):
    """As `weft.model.bgp.BgpPeer`. `password_file`: read by the command line, from the folder where the document is, and sent
    as `password`. `keep_password`: the one that there is."""

    address: IPAddress
    asn: int
    nodes: str = ""
    password: str = ""
    password_file: str = ""
    keep_password: bool = False
    ttl_security: bool = False
    hold_time: int = 0
    accept: tuple[str, ...] = ALL
    announce: tuple[str, ...] = ALL
    scope: Literal["node", "cluster"] = "cluster"
    communities: tuple[str, ...] = ()
    med: int = 0


def to_settings(item: Item) -> BgpSettings:
    """Raises Invalid."""
    return BgpSettings(**msgspec.structs.asdict(item.spec))


def from_settings(settings: BgpSettings) -> Item:
    return Item(kind=SETTINGS, name=ONLY, spec=BgpSettingsSpec(**msgspec.structs.asdict(settings)))


_OF_A_DOCUMENT = ("password_file", "keep_password")


def to_peer(item: Item, password: str = "") -> BgpPeer:
    """`password`: the one to keep, if it is to be kept. Raises Invalid."""
    values = {name: value for name, value in msgspec.structs.asdict(item.spec).items() if name not in _OF_A_DOCUMENT}
    kept = {"password": password} if item.spec.keep_password else {}
    return BgpPeer(name=item.name, labels=item.labels, **{**values, **kept})


def from_peer(peer: BgpPeer) -> Item:
    values = {name: value for name, value in msgspec.structs.asdict(peer).items() if name not in ("name", "labels")}
    spec = BgpPeerSpec(**{**values, "password": "", "keep_password": bool(peer.password)})
    return Item(kind=PEER, name=peer.name, labels=peer.labels, spec=spec)


def settled(wanted: Item, peer: BgpPeer) -> Item:
    """The same password again is the one that is kept."""
    if wanted.spec.password and wanted.spec.password == peer.password:
        return msgspec.structs.replace(
            wanted, spec=msgspec.structs.replace(wanted.spec, password="", keep_password=True)
        )
    return wanted


def _write_peer(item: Item) -> dict[str, Any]:
    """Only that there is another password, if there is."""
    shown = "(another one)" if item.spec.password else ""
    return documents.write(msgspec.structs.replace(item, spec=msgspec.structs.replace(item.spec, password=shown)))


def _settle_settings(item: Item) -> Item:
    to_settings(item)
    return item


def _settle_peer(item: Item) -> Item:
    """Raises Invalid."""
    if item.spec.password_file:
        raise Invalid("spec.passwordFile: files are read by `weft apply`: give spec.password to the API itself")
    if item.spec.password and item.spec.keep_password:
        raise Invalid("spec.keepPassword: there is a password beside it: leave one of them out")
    to_peer(item)
    return item


KINDS = (
    own(SETTINGS, BgpSettingsSpec, _settle_settings, rank=9, only=ONLY),
    msgspec.structs.replace(own(PEER, BgpPeerSpec, _settle_peer, rank=30, labelled=True), write=_write_peer),
)
