"""The keys of what one host encrypts (docs/encryption.md). What is secret in here is on this host, or made of the mesh secret;
what others must know of it is public.

    WireGuard, private    made here once, in a file of this host's alone; never anywhere else
    WireGuard, preshared  of the mesh secret and the two public keys
    ESP                   of the mesh secret and a recipe, which names both ends and what each has drawn (`weft.model.ciphers`)

With a key of ESP's no packet may be numbered a second time, so who sends with one must have counted from the first packet on.
The kernel counts; where it was asked for a state once, it is not asked again: `first_use`, in a file that goes with the boot
of the host, as the kernel's states do. There a recipe's digest is written before the state is made.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from weft.base.errors import Denied, Failed, Invalid
from weft.mesh.rotation import Drawn, draw
from weft.mesh.secret import Secret

_ESP_LENGTH = 36


class HostKeys:
    """In any thread."""

    def __init__(self, secret: Secret, private: Path, folder: Path, boot: str) -> None:
        """`private`: the file of WireGuard's key, as `wg genkey` writes it. `folder`: of what goes with the boot, whose id is
        `boot`. Raises Denied, Failed, Invalid."""
        self._secret, self._folder, self._boot = secret, folder, boot
        self.private = _private(private)
        self.public = public_of(self.private)
        self._used: set[str] | None = None
        """Digests of recipes that were used; None: not read yet."""
        self.used_twice = False
        """A recipe was asked for a second time: another start value has to be drawn."""

    def __repr__(self) -> str:
        return f"HostKeys({self.public})"

    def shared(self, public: str) -> bytes:
        return self._secret.key("wireguard " + " ".join(sorted((self.public, public))))

    def esp(self, recipe: str) -> bytes:
        return self._secret.key(f"esp {recipe}", _ESP_LENGTH)

    def first_use(self, recipe: str) -> bool:
        """Raises OSError."""
        digest = sha256(recipe.encode()).hexdigest()[:32]
        file = self._folder / "used"
        if self._used is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._used = set(file.read_text().split()) if file.exists() else set()
        if digest in self._used:
            self.used_twice = True
            return False
        with file.open("a") as used:
            used.write(f"{digest}\n")
        self._used.add(digest)
        return True

    def drawn(self, now: float) -> Drawn:
        """What was drawn in this boot, or is `now`, in seconds since then. Raises OSError."""
        file = self._folder / "drawn"
        try:
            found = msgspec.json.decode(file.read_bytes(), type=Drawn)
        except (FileNotFoundError, msgspec.DecodeError):
            found = Drawn(boot="", start="", salts=())
        if found.boot != self._boot:
            found = Drawn(boot=self._boot, start=draw(), salts=(draw(),), since=now)
            self.keep(found)
        return found

    def keep(self, drawn: Drawn) -> None:
        """Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = self._folder / "drawn.new"
        written.write_bytes(msgspec.json.encode(drawn))
        written.replace(self._folder / "drawn")


def public_of(private: bytes) -> str:
    """In base64."""
    return b64encode(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()).decode()


def _private(file: Path) -> bytes:
    """Of the file, which is made where it is missing. Raises Denied, Failed, Invalid."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return _decoded(file)
        private = X25519PrivateKey.generate().private_bytes_raw()
        with os.fdopen(fd, "wb") as made:
            made.write(b64encode(private) + b"\n")
            made.flush()
            os.fsync(made.fileno())
        return private
    except PermissionError as error:
        raise Denied(f"WireGuard's key {file} cannot be read or written: run as root") from error
    except OSError as error:
        raise Failed(f"WireGuard's key {file} cannot be read or written: {error.strerror}") from error


def _decoded(file: Path) -> bytes:
    """Raises OSError, Invalid."""
    try:
        private = b64decode(file.read_bytes().strip(), validate=True)
        X25519PrivateKey.from_private_bytes(private)
    except (ValueError, InvalidKey):
        raise Invalid(f"WireGuard's key {file} is none: remove the file, and another one is made") from None
    return private
