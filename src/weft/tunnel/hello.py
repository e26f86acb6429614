"""What hosts tell each other before they encrypt, authenticated by the key of all keys.

    HELLO    sender → receiver   a number drawn for this question
    WELCOME  receiver → sender   that number, and the one that the receiver drew when it started
    STALE    receiver → sender   something was sealed for a receiver that is no more: ask again

Only an answer to a question of one's own counts. Who records one of these and sends it again makes others ask, or answer, once
more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from weft.tunnel.frame import HEAD, HELLO, STALE, WELCOME, head
from weft.tunnel.seal import Sealing, derived

AGAIN, RARELY = 0.2, 5.0
"""Seconds after which a question is asked again; and where there is a key, but none by the newest secret."""
_NONCE, _QUESTION, _OPEN = 12, 16, 8


def told(kind: int, source: int, destination: int, secret: bytes, content: bytes) -> bytes:
    """A datagram."""
    about, nonce = head(source, destination, 0, kind), os.urandom(_NONCE)
    return about + nonce + _aead(secret, about).encrypt(nonce, content, bytes((kind,)))


def heard(datagram: memoryview, secrets: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The secret by which it was told, and the content; None where it was by none of these."""
    about = bytes(datagram[: HEAD.size])
    for secret in secrets:
        begin = HEAD.size + _NONCE
        try:
            nonce, sealed = datagram[HEAD.size : begin], datagram[begin:]
            return secret, _aead(secret, about).decrypt(nonce, sealed, about[-1:])
        except (InvalidTag, ValueError):
            continue
    return None


def _aead(secret: bytes, about: bytes) -> AESGCM:
    """By the numbers of both hosts, in this order."""
    return AESGCM(derived(secret, b"hello", about[2:6]))


class Asking:
    """What a sender asks one host, and the key for what it sends there, which is made of the answer. `own`: drawn by this
    process."""

    def __init__(self, here: int, there: int, own: bytes) -> None:
        self._here, self._there = here, there
        self.sealing = Sealing(head(here, there, 0, HELLO)[2:6], own)
        self._next = 0.0
        self._open: dict[bytes, bytes] = {}
        """Questions without an answer, and the secret by which they were asked."""

    def questions(self, secrets: Sequence[bytes], now: float) -> Iterator[bytes]:
        """What is to be asked now: all, where there is no key yet; by the newest secret, where there is one by another."""
        if now < self._next or (self.sealing.ready and self.sealing.secret in secrets[:1]):
            return
        self._next = now + (RARELY if self.sealing.ready else AGAIN)
        for secret in secrets[:1] if self.sealing.ready else secrets:
            question = os.urandom(_QUESTION)
            while len(self._open) >= _OPEN:
                del self._open[next(iter(self._open))]
            self._open[question] = secret
            yield told(HELLO, self._here, self._there, secret, question)

    def hear(self, datagram: memoryview, secrets: Sequence[bytes], now: float) -> None:
        """Of that host."""
        secret, content = heard(datagram, secrets) or (b"", b"")
        kind = datagram[HEAD.size - 1]
        if secret and kind == STALE:
            self.sealing.stop()
            return
        asked = kind == WELCOME and self._open.pop(content[:_QUESTION], None) == secret
        if asked and (not self.sealing.ready or secret == secrets[0]):  # an older one's answer may come later
            self.sealing.begin(secret, content[_QUESTION:], now)


def welcome(here: int, datagram: memoryview, secrets: Sequence[bytes], own: bytes) -> bytes | None:
    """The answer to a question; None where that is nobody's."""
    found = heard(datagram, secrets)
    if found is None:
        return None
    source = int.from_bytes(datagram[2:4], "big")
    return told(WELCOME, here, source, found[0], found[1][:_QUESTION] + own)
