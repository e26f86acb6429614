"""The secret that hosts of one cluster share: a file on each of them. Keys are derived of it, one for each purpose."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from weft.base.errors import Denied, Invalid

SHORTEST = 16
"""Octets that a secret has at least."""
_SALT = b"weft mesh 1"


class Secret:
    """Never printed: its `repr` says nothing of it."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        """Raises Invalid."""
        if len(value) < SHORTEST:
            raise Invalid(
                f"the mesh secret has {len(value)} characters, at least {SHORTEST} are needed: make one by "
                "`head -c 32 /dev/urandom | base64 > FILE`"
            )
        self._value = value

    def key(self, purpose: str, length: int = 32) -> bytes:
        """The key for one purpose (HKDF-SHA256, RFC 5869): the same on all hosts, and telling nothing of any other."""
        return HKDF(hashes.SHA256(), length, _SALT, purpose.encode()).derive(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"


def read(path: str) -> Secret:
    """Of a file; what is white around it does not count. Raises Invalid, Denied."""
    if not path:
        raise Invalid("a mesh needs a secret that all its hosts share: give its file by --mesh-secret FILE")
    try:
        found = Path(path)
        mode = found.stat().st_mode
        value = found.read_bytes().strip()
    except PermissionError as error:
        raise Denied(f"mesh secret '{path}' cannot be read: run as a user who may") from error
    except OSError as error:
        raise Invalid(f"mesh secret '{path}' cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise Invalid(f"mesh secret '{path}' can be read or written by other users of this host: chmod 600 {path}")
    return Secret(value)
