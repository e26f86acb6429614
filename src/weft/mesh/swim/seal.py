"""Whatever members send is sealed by AES-256-GCM, with keys of the secret that they share.

    version (1) | key's id (4) | nonce (12) | sealed | tag (16)

The id tells which of several secrets it was, so that two of them are valid while a secret is changed: all open, the first one
seals. The nonce is random; 2³² datagrams of one key are fine by NIST SP 800-38D, and at ten times as many the chance that two
have the same nonce is still below one in ten million. A sealed message can be sent again by whoever heard it. That
gains nothing: each claim has its incarnation, each answer its number.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from weft.base.errors import Denied
from weft.mesh.secret import Secret

_VERSION = b"\x01"
_ID, _NONCE, _TAG = 4, 12, 16
_HEAD = len(_VERSION) + _ID
OVERHEAD = _HEAD + _NONCE + _TAG
DATAGRAM, STREAM = b"datagram", b"stream"
"""What is sent in one way does not open in the other."""


class Seal:
    def __init__(self, secrets: Sequence[Secret]) -> None:
        """At least one; the first one seals."""
        self._keys = {secret.key("members' id", _ID): AESGCM(secret.key("members")) for secret in reversed(secrets)}
        self._first = secrets[0].key("members' id", _ID)

    def close(self, data: bytes, way: bytes) -> bytes:
        head, nonce = _VERSION + self._first, os.urandom(_NONCE)
        return head + nonce + self._keys[self._first].encrypt(nonce, data, head + way)

    def open(self, sealed: bytes, way: bytes) -> bytes:
        """Raises Denied: what it is not."""
        head = sealed[:_HEAD]
        if len(sealed) < OVERHEAD or head[:1] != _VERSION:
            raise Denied("it is no message of Weft's members, or of another version of them")
        key = self._keys.get(head[1:])
        if key is None:
            raise Denied("somebody with another secret sends from there")
        try:
            return key.decrypt(sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :], head + way)
        except InvalidTag:
            raise Denied("it was changed on its way") from None
