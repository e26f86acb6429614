"""What a host remembers of its cluster's store, in a file of its own: the cluster's identity, and the newest write seen.

The file outlives the agent and the host's reboot. Without a file (a new host, or a Weft that did not know of this before) the
store is taken as it is, once.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from weft.base.errors import Denied, Failed

log = logging.getLogger(__name__)


class Witness(msgspec.Struct, frozen=True):
    """The transaction of this revision wrote this key."""

    key: str
    revision: int


class Memory(msgspec.Struct):
    """`path`: None keeps it in this process only."""

    path: Path | None = None
    cluster: str = ""
    witness: Witness | None = None
    saved: bool = True

    def remember(self, cluster: str) -> None:
        """From now on this host belongs to that cluster. Raises Failed where that cannot be written down."""
        if cluster != self.cluster:
            self.cluster, self.witness, self.saved = cluster, None, False
        self.save()

    def saw(self, key: str, revision: int) -> None:
        if self.witness is None or revision > self.witness.revision:
            self.witness, self.saved = Witness(key, revision), False

    def save(self) -> None:
        """What is new. A file that cannot be written is told, and tried again: the memory of this process counts."""
        if self.saved or self.path is None:
            return
        fresh = self.path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode({"cluster": self.cluster, "witness": self.witness}))
            fresh.replace(self.path)
            self.saved = True
        except OSError as error:
            log.warning("what is known of the store is not written down: %s: %s", self.path, error.strerror)


class _File(msgspec.Struct, frozen=True):
    cluster: str
    witness: Witness | None = None


def remembered(path: Path) -> Memory:
    """What the file says. Raises Failed, Denied: to go on without it could take the data plane down."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return Memory(path)
    except OSError as error:
        raise Denied(f"cannot read {path}, which says to which cluster this host belongs: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise Failed(
            f"{path}, which says to which cluster this host belongs, is damaged ({error}): remove it, and the store is taken "
            "as it is"
        ) from None
    return Memory(path, found.cluster, found.witness)
