"""Secrets are taken out of what goes into an archive. Pure.

Two nets, since each has holes: what is *known* to be secret on this host is taken out wherever it stands, however it is
written (`forms`); and what *looks* secret is taken out by where it stands: after `password =`, in a URL, between the lines of a
PEM key. Rather too much than too little: a word that is missing is asked for again, a password that was sent is not got back.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import msgspec

REMOVED = b"(removed)"
SHORTEST = 4
"""Octets of a secret that is looked for wherever it may stand. Shorter ones are in too many words."""

_NAME = (
    rb"pass(?:word|wd|phrase)|secret|token|credential|api[-_.]?key|private[-_. ]?key|access[-_.]?key|preshared[-_. ]?key"
    rb"|encryption[-_.]?key|auth[-_.]?key|authorization|psk"
)
_QUOTED = rb'"(?:[^"\\]|\\.)*"|' + rb"'[^']*'"

# Every repetition that may begin anywhere is bounded: a long word costs no more than many short ones.
_LOOKS = re.compile(
    # NAME = VALUE, "NAME": "VALUE", \"NAME\": \"VALUE\" inside of a string, NAME "VALUE" (BIRD)
    rb"(?P<named>(?:%(name)s)[\w.\-/]{0,64}\\{0,8}[\"']?(?:\s{0,16}[=:]\s{0,16}|\s{1,16}(?=\")))"
    rb"(?P<value>%(quoted)s|\\{1,8}\"[^\"\\]*|(?:bearer|basic)\s+[^\s\"'\\]+|[^\s\"'\\,;&}]+)"
    # ://user:password@host: a password may have any characters
    rb"|(?P<url>://)[^\s\"'@:/]{0,128}:[^\s\"']{0,1024}@"
    # ip xfrm state
    rb"|(?P<xfrm>\b(?:aead|enc|auth|auth-trunc|comp)\s\S{1,64}\s)0x[0-9a-f]+"
    rb"|(?P<bearer>\b(?:bearer|basic)\s)[a-z0-9+/=._~\-]{8,}"
    # tokens that are known by their shape: AWS, JWT, GitHub, Slack
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,4096}\.[\w-]+\.[\w-]*|\bgh[pousr]_\w{20,}|\bxox[abpr]-[\w-]{10,}"
    % {b"name": _NAME, b"quoted": _QUOTED},
    re.IGNORECASE,
)
_HINTS = (
    *(b"passw", b"passp", b"secret", b"token", b"credential", b"key", b"authoriz", b"psk", b"://", b"aead ", b"enc "),
    *(
        b"auth",
        b"comp ",
        b"bearer",
        b"basic",
        b"akia",
        b"asia",
        b"eyj",
        b"ghp_",
        b"gho_",
        b"ghu_",
        b"ghs_",
        b"ghr_",
        b"xox",
    ),
)
"""One of these, in small letters, is in all that looks secret. To look for them costs a hundredth of looking for that."""
SMALL = 256
"""Octets of a block that is looked through without that."""
_PEM = re.compile(rb"(-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----)[\s\S]*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)")
_BLOCK = 16 * 1024
"""Octets that are looked through at once, and a line's rest."""
_SECRET = re.compile(_NAME.decode(), re.IGNORECASE)
_PATHS = re.compile(rb"(?:mesh-secret|store-password-file|password-file)\W*\Z", re.IGNORECASE)
"""Settings whose value is the path of a file."""


def forms(secret: bytes) -> Iterator[bytes]:
    """How a secret may be written."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for encoded in (base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
        yield encoded
        yield encoded.rstrip(b"=")
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    yield quote(text, safe="").encode()
    yield quote(text).encode()
    for plain in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        yield plain[1:-1].encode()
        yield json.dumps(plain[1:-1])[1:-1].encode()


class Scrub:
    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        """`secrets`: those that are known."""
        self.removed = 0
        """How many places."""
        self._harmless = set[str]()
        found = {form for secret in secrets if len(secret.strip()) >= SHORTEST for form in forms(secret.strip())}
        longest_first = sorted(found, key=lambda form: (-len(form), form))
        self._known = re.compile(b"|".join(map(re.escape, longest_first)) or rb"(?!)")

    def clean(self, data: bytes) -> bytes:
        """Of a text."""
        data, known = self._known.subn(REMOVED, data)
        data, keys = _PEM.subn(rb"\1" + REMOVED, data) if b"PRIVATE KEY-----" in data else (data, 0)
        self.removed += known + keys
        return b"".join(map(self._looked_through, _blocks(data)))

    def _looked_through(self, block: bytes) -> bytes:
        small = block.lower() if len(block) > SMALL else b""
        return _LOOKS.sub(self._hidden, block) if not small or any(hint in small for hint in _HINTS) else block

    def clean_json(self, data: bytes) -> bytes:
        """Of a document, which stays one: its strings are texts, and names say what is secret whatever it is."""
        try:
            value = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return self.clean(data)
        return msgspec.json.encode(self._cleaned(value))

    def _cleaned(self, value: object) -> object:
        match value:
            case str():
                return value if value in self._harmless else self._cleaned_text(value)
            case list():
                return [self._cleaned(each) for each in value]
            case dict():
                return {
                    self._cleaned(k): self._gone(v) if _SECRET.search(k) else self._cleaned(v) for k, v in value.items()
                }
        return value

    def _cleaned_text(self, text: str) -> str:
        """The same words come again and again in a document: those that are harmless are remembered."""
        cleaned = self.clean(text.encode("utf-8", "surrogatepass")).decode(errors="replace")
        if cleaned == text and len(text) < 64 and len(self._harmless) < 2**16:
            self._harmless.add(text)
        return cleaned

    def _gone(self, value: object) -> object:
        match value:
            case list():
                return [self._gone(each) for each in value]
            case dict():
                return {self._cleaned(k): self._gone(v) for k, v in value.items()}
            case None | bool() | "":
                return value
        self.removed += 1
        return REMOVED.decode()

    def _hidden(self, found: re.Match[bytes]) -> bytes:
        kept = found["named"] or found["url"] or found["xfrm"] or found["bearer"] or b""
        value = found["value"] or b""
        if found["named"]:
            before = found.string[max(0, found.start() - 32) : found.start("value")]
            if _harmless(value) or (_PATHS.search(before) and value.strip(b"\"'").startswith(b"/")):
                return found[0]
        self.removed += 1
        for opening in (b'\\"', b'"', b"'"):
            if value.startswith(opening):
                return kept + opening + REMOVED + (opening if value.endswith(opening) and value != opening else b"")
        return kept + REMOVED + (b"@" if found["url"] else b"")


def _blocks(data: bytes) -> Iterator[bytes]:
    """Whole lines."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", min(start + _BLOCK, len(data))) + 1 or len(data)
        yield data[start:end]
        start = end


def _harmless(value: bytes) -> bool:
    """Whether there is one at all, says a boolean; and what is empty."""
    return value.lower() in (
        b"true",
        b"false",
        b"null",
        b"none",
        b"yes",
        b"no",
        b'""',
        b"''",
        REMOVED,
        b"[",
        b"{",
        b"[]",
        b"{}",
    )
