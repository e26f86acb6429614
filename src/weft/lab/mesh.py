"""A lab whose hosts keep their store themselves: what they share is a secret, and the names of the first of them."""

from __future__ import annotations

import secrets
from pathlib import Path

from weft.lab.topology import Topology

NAMED = 3
"""Hosts that the store's URL names: its first voters."""


def is_mesh(url: str) -> bool:
    return url.startswith("mesh://")


def url(topology: Topology) -> str:
    """As agents are given it."""
    first = (place.addresses[0].ip for place in topology.hosts[:NAMED])
    return f"mesh://{','.join(f'[{ip}]' if ip.version == 6 else str(ip) for ip in first)}"


def secret_file(directory: Path) -> Path:
    return directory / "store" / "mesh.secret"


def prepare(directory: Path, url: str) -> None:
    """Before the agents start."""
    if is_mesh(url):
        path = secret_file(directory)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
