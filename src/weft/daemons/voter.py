"""A voter of the store `mesh://`: etcd, a resident of the agent's (`weft.daemons.resident`). Another etcd on the host is never
touched.

What it is to run on is its command line alone. Its data and its keys are below the state directory, which is closed to
others: it is put into its folder first and becomes the user `etcd` afterwards, and all paths it is given begin there. So what
tells that it is Weft's is the name by which it is called: `etcd` in the run directory, where there is no such file. It goes
on when the agent ends, and takes little: its store is limited, old revisions are dropped, and of its log only errors are
written.
"""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import stat
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec

from weft.daemons.plain import PlainDaemon, Setting
from weft.daemons.resident import Habitat, Program
from weft.kernel.plumbing import tools

PROGRAM = Program(title="the store's voter", name="etcd", package="etcd-server", file="voter")
USER = "etcd"
"""Debian's package makes it."""
QUOTA = 1 << 30
"""Octets of its store; beyond it takes no writes any more until somebody makes room."""
LONGEST_LOG = 1 << 20
"""Octets; a log that is longer is begun anew with the next start."""
DATA, KEYS = "data", "keys"
"""Folders in its own."""
ALONE = "--force-new-cluster=true"
_PANICS = ("panic: ", "fatal error: ")
_CHOWN, _SETGID, _SETUID = 0, 6, 7
"""capabilities(7), by number."""
_FIXED = {
    "data-dir": DATA,
    "client-cert-auth": "true",
    "peer-client-cert-auth": "true",
    # A host with several addresses may come from one that its certificate does not name. The authority is proof enough.
    "experimental-peer-skip-client-san-verification": "true",
    "quota-backend-bytes": str(QUOTA),
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": "1h",
    "snapshot-count": "10000",  # changes that are kept in memory
    "pre-vote": "true",  # who comes back from a partition disturbs nobody
    "enable-grpc-gateway": "false",
    "logger": "zap",
    "log-level": "error",
}


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """With what etcd joins a cluster when it has no data yet. `members`: NAME=URL of each, with commas. `existing`: whether the
    cluster is there already. Later it goes by its data."""

    name: str
    members: str
    existing: bool = False
    token: str = ""

    @property
    def hosts(self) -> str:
        """Their names alone, for people."""
        return ", ".join(member.partition("=")[0] for member in self.members.split(","))


class Place(msgspec.Struct, frozen=True):
    """Where it listens: for clients, and for other voters."""

    address: IPv4Address | IPv6Address
    client: int
    peer: int

    def url(self, port: int) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"https://{host}:{port}"


def installed() -> bool:
    return tools.find(PROGRAM.name) is not None


class VoterDaemon(PlainDaemon):
    """Blocking, as any resident. `home`: the folder of its data and keys."""

    def __init__(self, run: Path, home: Path) -> None:
        self.home, self.keys, self.called = home, home / KEYS, str(run / PROGRAM.name)
        super().__init__(run, PROGRAM, (self.called,), reload=None)

    def setting(self, beginning: Beginning, place: Place, *, alone: bool = False) -> Setting:
        """`alone`: drop all other members, and go on with this one's data."""
        client, peer = place.url(place.client), place.url(place.peer)
        flags = {
            "name": beginning.name,
            "initial-cluster": beginning.members,
            "initial-cluster-state": "existing" if beginning.existing else "new",
            "initial-cluster-token": beginning.token,
            "initial-advertise-peer-urls": peer,
            "listen-peer-urls": peer,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            **_FIXED,
            **{
                f"{side}{flag}": f"{KEYS}/{name}"
                for side in ("", "peer-")
                for flag, name in (("trusted-ca-file", "ca.pem"), ("cert-file", "cert.pem"), ("key-file", "key.pem"))
            },
        }
        words = tuple(f"--{flag}={value}" for flag, value in flags.items())
        return Setting(arguments=(*words, ALONE) if alone else words)

    def _runs_with(self, wanted: Setting) -> bool:
        """Also one that went alone: that was done when it started, and is not repeated by the next one."""
        if super()._runs_with(wanted):
            return True
        return super()._runs_with(Setting(arguments=(*wanted.arguments, ALONE)))

    def before_start(self) -> None:
        for folder in (self.home, self.home / DATA, self.keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _close(folder)
        self._own(self.home, *self.home.rglob("*"))
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > LONGEST_LOG:
                self.log.unlink()

    def _own(self, *paths: Path) -> None:
        user = _user()
        for path in paths:
            if user and path.stat().st_uid != user[0]:
                os.chown(path, *user)

    def habitat(self) -> Habitat:
        odd = {"aarch64": "arm64"}.get(platform.machine())  # etcd 3.4 wants to hear that this is meant
        environment = {"PATH": os.defpath, **({"ETCD_UNSUPPORTED_ARCH": odd} if odd else {})}
        return Habitat(folder=self.home, user=_user(), umask=0o077, environment=environment, called=self.called)

    def last_words(self) -> str:
        """Of the last line of its log that is a word of etcd's own: what, and why. What follows a panic is for its makers."""
        for line in reversed(self.tail()):
            if line.startswith(_PANICS):
                return line
            with contextlib.suppress(msgspec.DecodeError):
                said = msgspec.json.decode(line, type=_Line)
                return f"{said.msg}: {said.error}" if said.error else said.msg
        return super().last_words()


def _close(folder: Path) -> None:
    """To all but its owner. The agent's unit has no CAP_FOWNER, without which a mode is changed by the owner alone."""
    found = folder.stat()
    if stat.S_IMODE(found.st_mode) == 0o700:
        return
    if found.st_uid != os.geteuid():
        os.chown(folder, os.geteuid(), -1)
    folder.chmod(0o700)


class _Line(msgspec.Struct):
    msg: str
    error: str = ""


def _user() -> tuple[int, int] | None:
    """Whose it is to be, where there is such a user, and this agent may say so: in a container it may have no other users."""
    try:
        entry = pwd.getpwnam(USER)
        held = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
        maps = [Path(f"/proc/self/{kind}_map").read_text() for kind in ("uid", "gid")]
    except (KeyError, OSError, ValueError):
        return None
    may = os.geteuid() == 0 and all(held >> bit & 1 for bit in (_CHOWN, _SETGID, _SETUID))
    known = all(_maps(text, number) for text, number in zip(maps, (entry.pw_uid, entry.pw_gid), strict=True))
    return (entry.pw_uid, entry.pw_gid) if may and known else None


def _maps(text: str, number: int) -> bool:
    """user_namespaces(7)."""
    rows = (map(int, line.split()) for line in text.splitlines())
    return any(first <= number < first + count for first, _, count in rows)
