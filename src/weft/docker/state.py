"""What Docker tells once and this process must know ever after: which of Weft's networks each of Docker's stands for.

One file, replaced atomically. Docker never tells it again, not after a restart either; should the file be lost, `sweep`
asks Docker.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec

from weft.base.errors import Denied, WeftError
from weft.base.net import IPNetwork
from weft.model import Network, decode, encode


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """By Docker's network id: the network as it is defined, so that it can be made again."""

    networks: dict[str, Network] = {}


class PluginState:
    """Safe to use from several threads. Raises Denied when the file cannot be written, Invalid when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept = self._read()

    def _read(self) -> Kept:
        try:
            return decode(Kept, self._path.read_bytes())
        except FileNotFoundError:
            return Kept()
        except WeftError as error:
            raise type(error)(f"{self._path} cannot be read: {error}: move it away, and Docker is asked") from None

    def network(self, id: str) -> Network | None:
        return self._kept.networks.get(id)

    def networks(self) -> dict[str, Network]:
        return dict(self._kept.networks)

    def with_pool(self, pool: IPNetwork) -> Network | None:
        return next((n for n in self.networks().values() if pool in n.subnets), None)

    def put(self, id: str, network: Network) -> None:
        with self._lock:
            self._save(Kept(networks={**self._kept.networks, id: network}))

    def drop(self, id: str) -> None:
        with self._lock:
            if id in self._kept.networks:
                self._save(Kept(networks={k: n for k, n in self._kept.networks.items() if k != id}))

    def _save(self, kept: Kept) -> None:
        new = self._path.with_suffix(".new")
        try:
            with new.open("wb") as file:
                file.write(encode(kept))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            raise Denied(f"{self._path} cannot be written: {error.strerror}") from None
        self._kept = kept
