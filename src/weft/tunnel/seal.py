"""Frames that only the host can read which they are for (AES-256-GCM, RFC 5116), and that are taken once.

A key is for one direction between two hosts, and for one life of both. It is derived (HKDF, RFC 5869) of the key of all keys;
both hosts' numbers; a random number that the sending process drew when it started, and how often it has changed keys since;
and one that the receiving process drew, which it tells those who ask (`weft.tunnel.hello`). So a key is never used by two
processes, a number under it never twice, and what was recorded before either of the two started opens no more.

    head (`weft.tunnel.frame`), then
    4 octets  what the receiver's random number begins with
    8         the sender's random number
    4         how many keys it had before, to this host
    4         number of the datagram under this key
    …         the frame, sealed, and 16 octets that prove it

The receiver makes the key when the first datagram comes, so that a change of keys costs no message, and no datagram is lost.
Vouched for is all of that but the octet that is counted down where a datagram is passed on: who does that reads nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from weft.tunnel.frame import HEAD, TTL_AT
from weft.tunnel.window import Window

MOST = int(os.environ.get("WEFT_SLEEVE_DATAGRAMS", 1 << 24))
"""Datagrams under one key. (GCM's limits, for 64 KB each, are far beyond that; tests have less.)"""
LONGEST = 3600.0
"""Seconds for which a key is used."""
HELD = 1024
"""Lives of other hosts' processes that are remembered; one more, and this process draws a new number itself."""
AHEAD = HEAD.size + 20
_TAG, _SHORT, _GENERATION = 16, 4, slice(HEAD.size + 12, HEAD.size + 16)
_NAME = slice(HEAD.size, HEAD.size + 16)
_NUMBERS, _SENDER = slice(2, 6), slice(HEAD.size + 4, HEAD.size + 12)
_NONCE = bytes(4)
EARLIER = "sealed for an earlier start"


def derived(secret: bytes, *about: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, b"weft sleeve 1", b"".join(about)).derive(secret)


class Refused(ValueError):
    """`reason`: by the name under which it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sealing:
    """To one host. `numbers`: this host's and that one's, as they are in a datagram; `own`: this process's random number. It
    has no key before it is told the receiver's number."""

    def __init__(self, numbers: bytes, own: bytes) -> None:
        self._numbers, self._own = numbers, own
        self.secret, self._receiver = b"", b""
        self._generation, self._number, self._until = 0, 0, 0.0
        self._aead: AESGCM | None = None
        self._front = b""

    @property
    def ready(self) -> bool:
        return self._aead is not None

    def stop(self) -> None:
        """The receiver is another one than it was."""
        self._aead = None

    def begin(self, secret: bytes, receiver: bytes, now: float) -> None:
        """With this receiver, under a key that was not used before."""
        if not self.ready or (secret, receiver) != (self.secret, self._receiver):
            self.secret, self._receiver = secret, receiver
            self._renew(now)

    def refresh(self, now: float) -> None:
        """Before some datagrams, 64 at most."""
        if now > self._until or self._number + 64 > MOST:
            self._renew(now)

    def _renew(self, now: float) -> None:
        self._generation += 1
        self._number, self._until = 0, now + LONGEST
        generation = self._generation.to_bytes(4, "big")
        self._front = self._receiver[:_SHORT] + self._own + generation
        self._aead = AESGCM(derived(self.secret, b"frames", self._numbers, self._own, generation, self._receiver))

    def seal(self, head: bytes, quiet: bytes, frame: bytes | memoryview) -> bytes:
        assert self._aead is not None
        self._number += 1
        more = self._front + self._number.to_bytes(4, "big")
        return head + more + self._aead.encrypt(_NONCE + more[-8:], frame, quiet + more)

    def opened(self, datagram: memoryview) -> bytes:
        """What was sealed a moment ago. Raises Refused where that was under another key."""
        try:
            assert self._aead is not None
            return _opened(self._aead, bytes(datagram[:AHEAD]), datagram)
        except InvalidTag:
            raise Refused("not sent") from None


def _opened(aead: AESGCM, about: bytes, datagram: memoryview) -> bytes:
    """`about`: what is ahead in it. Raises InvalidTag."""
    return aead.decrypt(_NONCE + about[-8:], datagram[AHEAD:], about[:TTL_AT] + b"\0" + about[TTL_AT + 1 :])


class _Key:
    """`life`: the sender's number and its random number; `generation`: how many keys it had before."""

    __slots__ = ("aead", "generation", "life", "window")

    def __init__(self, aead: AESGCM, life: bytes, generation: int) -> None:
        self.aead, self.life, self.generation, self.window = aead, life, generation, Window()


class Opening:
    """From all hosts. `secrets`: keys of all keys, the newest first: from a host that has used that, no older one is taken."""

    def __init__(self) -> None:
        self.secrets: Sequence[bytes] = ()
        self._draw()

    def _draw(self) -> None:
        self.own = os.urandom(16)
        self._keys: dict[bytes, _Key] = {}
        """By both random numbers, and how many keys the sender had."""
        self._lives: dict[bytes, list[bytes]] = {}
        """By the sender's number: the last two random numbers."""
        self._newest: dict[bytes, int] = {}
        """By a sender and its random number: how many keys it had, at most."""
        self._over: set[bytes] = set()
        self._secret: dict[bytes, bytes] = {}

    def open(self, datagram: memoryview) -> bytes:
        """The frame. Raises Refused."""
        if len(datagram) < AHEAD + _TAG:
            raise Refused("malformed")
        about = bytes(datagram[:AHEAD])
        number = int.from_bytes(about[-4:], "big")
        key = self._keys.get(about[_NAME])
        try:
            if key is None:
                key, frame = self._meet(about, datagram)
            elif not key.window.fresh(number):
                raise Refused("replayed")
            else:
                frame = _opened(key.aead, about, datagram)
        except InvalidTag:
            raise Refused("forged") from None
        key.window.saw(number)
        return frame

    def _meet(self, about: bytes, datagram: memoryview) -> tuple[_Key, bytes]:
        """The first one under a key. Raises Refused."""
        if about[_NAME][:_SHORT] != self.own[:_SHORT]:
            raise Refused(EARLIER)
        source, own, generation = about[2:4], about[_SENDER], int.from_bytes(about[_GENERATION], "big")
        life = source + own
        if life in self._over or generation + 1 < self._newest.get(life, 0):
            raise Refused("replayed")
        known = self._secret.get(source)
        secrets = self.secrets[:1] if known in self.secrets[:1] else self.secrets
        for secret in secrets:
            made_of = b"frames", about[_NUMBERS], own, about[_GENERATION], self.own
            key = _Key(AESGCM(derived(secret, *made_of)), life, generation)
            try:
                frame = _opened(key.aead, about, datagram)
            except InvalidTag:
                continue
            self._secret[source] = secret
            self._keys[about[_NAME]] = key
            self._admit(life, generation)  # which may forget all of them
            return key, frame
        raise Refused("forged")

    def _admit(self, life: bytes, generation: int) -> None:
        """Of a process the last two keys are kept, of a host the last two processes'. What was before is over."""
        lives = self._lives.setdefault(life[:2], [])
        if life not in lives:
            lives.append(life)
        newest = self._newest[life] = max(generation, self._newest.get(life, 0))
        gone = lives.pop(0) if len(lives) > 2 else b""
        if gone:
            self._over.add(gone)
            del self._newest[gone]
        for name, key in list(self._keys.items()):
            if key.life == gone or (key.life == life and key.generation + 1 < newest):
                del self._keys[name]
        if len(self._over) > HELD:
            self._draw()
