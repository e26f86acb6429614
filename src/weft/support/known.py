"""What is secret on this host, by the agent's settings and files: so that it is found wherever it turns up."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from weft.agent.config import Config
from weft.agent.encryption import WIREGUARD_KEY

LARGEST = 64 * 1024
"""Octets of a file with a secret."""
_BIRD = re.compile(rb'\bpassword\s+"([^"]*)"')
_PEM = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", re.DOTALL)


def secrets(config: Config) -> Iterator[bytes]:
    """Passwords and keys. What cannot be read here cannot be in the archive either, as far as it comes from there."""
    yield from _login(config.store)
    for name in (config.store_password_file, config.mesh_secret):
        if name:
            yield from _file(Path(name))
    state = Path(config.state_dir)
    yield from _file(state / WIREGUARD_KEY)
    keys = [Path(config.store_key)] if config.store_key else []
    with contextlib.suppress(OSError):
        keys += sorted(state.rglob("*.key"))
    for path in keys:
        for content in _file(path):
            yield from (line for body in _PEM.findall(content) or [content] for line in body.split() if len(line) >= 16)
    for content in _file(Path(config.run_dir) / "bird.conf"):
        yield from _BIRD.findall(content)


def _login(url: str) -> Iterator[bytes]:
    """The password in a store's URL, as it is and as it is meant. Hosts and prefixes have no '@': the last one ends it."""
    login, at, _ = url.partition("://")[2].rpartition("@")
    word = login.partition(":")[2] if at else ""
    if word:
        yield word.encode()
        yield unquote(word).encode()


def _file(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        yield file.read(LARGEST).strip()
