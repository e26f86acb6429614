"""From a store's URL to the store.

sqlite:///var/lib/weft/weft.db                      embedded, one machine; the path is absolute
etcd://[user[:password]@]h1[:2379][,h2…][/prefix]   a cluster's etcd; the prefix is `weft` if none is given; what of user
                                                    and password is written as %XX is decoded
etcds://…                                           the same with TLS
mesh://h1,h2,h3                                     kept by the hosts themselves (docs/mesh.md); these find each other, and
                                                    any others find them
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote

import msgspec

from weft.base.errors import Denied, Invalid, Unavailable, WeftError
from weft.base.net import parse_address
from weft.base.numbers import HIGHEST_PORT
from weft.store.protocol import Store

if TYPE_CHECKING:
    from weft.store.etcd_link import Drop, Secrets

T = TypeVar("T")

DEFAULT_URL = "sqlite:///var/lib/weft/weft.db"
ETCD_PORT = 2379

FORMS = "write sqlite:///var/lib/weft/weft.db or etcd://HOST:2379,HOST:2379/PREFIX (etcds:// with TLS) or mesh://HOST,HOST,HOST"

_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_ADDRESS = re.compile(r"[0-9.]+|\[.*")
"""What is meant as an address."""
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


class StoreOptions(msgspec.Struct, frozen=True):
    """What does not belong into a URL that others can read. Paths of files; PEM where they hold keys or certificates.

    `ca`: who signed the servers' certificates (else the system's authorities); `cert` and `key`: this client's own.
    """

    user: str = ""
    password_file: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise Invalid("a client certificate needs its key: give the store both cert and key, or neither")


class Voters(Protocol):
    """Who keeps a store mesh://, and how they are spoken to."""

    async def endpoints(self) -> Sequence[str]:
        """HOST:PORT of each that this host may ask, the best first. Raises Unavailable: why there is none."""

    def secrets(self) -> Secrets: ...

    def use(self, endpoint: str, drop: Drop) -> None:
        """The store is asked there from now on; "": nowhere. `drop`: makes it dial anew."""

    def why(self, reasons: Sequence[str]) -> str:
        """What is said where none of them answered; `reasons`: of each, in words."""


class _Parts(NamedTuple):
    """`login`: before the '@'; `place`: hosts; `path`: with its leading '/' if there is one. `voters`: of a mesh."""

    login: str
    place: str
    path: str
    voters: Voters | None = None


def open_store(url: str, options: StoreOptions, voters: Voters | None = None) -> Store:
    """The store at `url`; it is not opened or connected before its first call. `voters`: of a store mesh://. Raises Invalid
    for a URL or an option that cannot be meant, Denied or Invalid for a file of `options` that cannot be read."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise _bad(url, f"'{without_secret(scheme)}' is no kind of store" if separator else "there is no '://' in it")
    login, rest = ("", rest) if scheme == "sqlite" else _split_login(rest)
    place, slash, path = rest.partition("/")
    return _SCHEMES[scheme](url, _Parts(login, place, slash + path, voters), options)


def places(url: str) -> tuple[tuple[str, int], ...]:
    """Hosts and ports of an etcd's URL; none of a file's. Raises Invalid."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("etcd", "etcds"):
        return ()
    _, _, listed = rest.partition("/")[0].rpartition("@")
    pairs = (_endpoint(url, text).rpartition(":") for text in listed.split(","))
    return tuple((host.strip("[]"), int(port)) for host, _, port in pairs)


def is_mesh(url: str) -> bool:
    return url.startswith("mesh://")


def mesh_hosts(url: str) -> tuple[str, ...]:
    """Names or addresses of the hosts that a store mesh:// names, in their order. Raises Invalid."""
    _, _, rest = url.partition("://")
    login, rest = _split_login(rest)
    place, _, path = rest.partition("/")
    if login:
        raise _bad(url, "a mesh has no user: its hosts share a secret, in the file of --mesh-secret")
    if path:
        raise _bad(url, f"a mesh has no prefix, and '/{path}' is one")
    hosts = tuple(_mesh_host(url, text) for text in place.split(","))
    if twice := [host for host in hosts if hosts.count(host) > 1]:
        raise _bad(url, f"{twice[0]} is named twice")
    addresses = [parse_address(host) for host in hosts if _ADDRESS.fullmatch(host) or ":" in host]
    if len({address.version for address in addresses}) > 1:
        raise _bad(url, "a mesh goes by IPv4 or by IPv6, and addresses of both are named")
    if len(hosts) > 1 and (own := [address for address in addresses if address.is_loopback]):
        raise _bad(url, f"{own[0]} is another host on each host")
    return hosts


def _mesh_host(url: str, text: str) -> str:
    if not text:
        raise _bad(url, "a host is missing")
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and _HOST.fullmatch(host):
        raise _bad(url, f"'{text}' has a port: a mesh's ports are always the same, so name the host alone")
    if not _HOST.fullmatch(text):
        raise _bad(url, f"'{text}' is no host: write its name, or its address (of IPv6 in brackets)")
    if not _ADDRESS.fullmatch(text):
        return text.lower()
    try:
        address = parse_address(text.strip("[]"))
    except Invalid:
        raise _bad(url, f"'{text}' is no address") from None
    mapped = address.version == 6 and address.ipv4_mapped
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255" or mapped:
        raise _bad(url, f"'{text}' is no address of one host")
    return str(address)


def without_secret(url: str) -> str:
    """The URL for logs and screens, whatever is wrong with it."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite":
        return url
    return f"{scheme}://{_split_login(rest)[1]}" if separator and "@" not in scheme else _split_login(url)[1]


def unguarded(url: str, cert: str = "") -> str:
    """What a store on another host lacks, in words: "without TLS and without a user". "" where it is guarded, or where
    nobody else can reach it. `cert`: of this client, which stands for a user."""
    scheme, _, rest = url.partition("://")
    login, rest = _split_login(rest)
    hosts = [
        found["host"].strip("[]") for text in rest.partition("/")[0].split(",") if (found := _ENDPOINT.fullmatch(text))
    ]
    if scheme in ("sqlite", "mesh") or all(_is_own(host) for host in hosts):
        return ""
    lacks = ["without TLS"] * (scheme == "etcd") + ["without a user"] * (not login and not cert)
    return " and ".join(lacks)


def _is_own(host: str) -> bool:
    """Whether only this host reaches it."""
    try:
        return parse_address(host).is_loopback
    except Invalid:
        return host == "localhost"


def _split_login(rest: str) -> tuple[str, str]:
    """USER:PASSWORD and all else. A password may have any characters: hosts and prefixes have no '@', so the last one ends
    it."""
    login, _, rest = rest.rpartition("@")
    return login, rest


def _sqlite(url: str, parts: _Parts, options: StoreOptions) -> Store:
    if parts.place:
        raise _bad(url, "a file's path is absolute, so three '/' come before it")
    if not parts.path.strip("/") or parts.path.endswith("/"):
        raise _bad(url, "the file's name is missing")
    if any(character in parts.path for character in "?#\0"):
        raise _bad(url, "a path has no '?' or '#', and this store no options")
    if options != StoreOptions():
        raise Invalid(f"{without_secret(url)} takes no user, ca, cert or key: leave them out, or name an etcd")
    from weft.store.sqlite import SqliteStore

    return SqliteStore(Path(parts.path))


def _etcd(url: str, parts: _Parts, options: StoreOptions) -> Store:
    if options.ca or options.cert:
        raise Invalid(
            f"{without_secret(url)} is without TLS, but a ca or cert is given: write etcds:// or leave them out"
        )
    return _etcd_store(url, parts, options, tls=False)


def _etcds(url: str, parts: _Parts, options: StoreOptions) -> Store:
    return _etcd_store(url, parts, options, tls=True)


def _etcd_store(url: str, parts: _Parts, options: StoreOptions, *, tls: bool) -> Store:
    endpoints = [_endpoint(url, text) for text in parts.place.split(",")]
    prefix = parts.path.strip("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise _bad(url, f"'{prefix}' is not a prefix (letters, digits, '.', '_', '-', and single '/')")

    def secrets() -> etcd_link.Secrets:
        user, password = _login(url, parts.login, options)
        ca, key, cert = (_read(path) for path in (options.ca, options.key, options.cert))
        return etcd_link.Secrets(
            etcd_link.Tls(ca=ca, key=key, cert=cert) if tls else None, etcd_link.Login(user, password) if user else None
        )

    with needing(url, "etcd"):
        from weft.store import etcd, etcd_link
    secrets()  # what cannot be read now is told now
    return etcd.connect(endpoints, prefix=prefix or "weft", secrets=lambda: _renewed(secrets))


def _mesh(url: str, parts: _Parts, options: StoreOptions) -> Store:
    mesh_hosts(url)
    if options != StoreOptions():
        raise Invalid(
            f"{without_secret(url)} takes no user, ca, cert or key: its hosts share a secret (--mesh-secret FILE)"
        )
    voters = parts.voters
    if voters is None:
        raise Invalid(
            f"{without_secret(url)} is the store of agents that take part in that mesh: nothing else can use it"
        )
    with needing(url, "mesh"):
        from weft.store import etcd, etcd_link
    calls = etcd_link.Link(voters.endpoints, voters.secrets, voters.use, voters.why)
    return etcd.EtcdStore("the mesh's voters", "weft", calls)


@contextlib.contextmanager
def needing(url: str, extra: str) -> Iterator[None]:
    """For imports of what speaks to an etcd. Raises Invalid where a package is missing."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else gRPC writes of every failed connection to stderr
    try:
        yield
    except ImportError as error:
        raise Invalid(f"{without_secret(url)} needs the Python package {error.name}: install weft[{extra}]") from error


def _renewed(read: Callable[[], T]) -> T:
    """What the files say now. They may be written just now, so whatever is wrong with them is tried again."""
    try:
        return read()
    except WeftError as error:
        raise Unavailable(str(error)) from error


_SCHEMES: dict[str, Callable[[str, _Parts, StoreOptions], Store]] = {
    "sqlite": _sqlite,
    "etcd": _etcd,
    "etcds": _etcds,
    "mesh": _mesh,
}


def _endpoint(url: str, text: str) -> str:
    found = _ENDPOINT.fullmatch(text)
    if not found:
        raise _bad(url, f"'{text}' is not a host and port" if text else "a host is missing")
    port = int(found["port"] or ETCD_PORT)
    if not 0 < port <= HIGHEST_PORT:
        raise _bad(url, f"there is no port {port}")
    return f"{found['host']}:{port}"


def _login(url: str, text: str, options: StoreOptions) -> tuple[str, str]:
    """Of the URL and the options, the options' part wins: a URL may be kept by many."""
    name, _, word = text.partition(":")
    user = options.user or unquote(name)
    password = _password(options.password_file) if options.password_file else unquote(word)
    if bool(user) != bool(password):
        raise Invalid(f"store {without_secret(url)}: user and password go together: give both or neither")
    return user, password


def _password(path: str) -> str:
    text = _read(path).decode(errors="replace").rstrip("\r\n")
    if not text:
        raise Invalid(f"'{path}', named in the store's options, is empty: write the password into it, on one line")
    return text


def _read(path: str) -> bytes:
    """Nothing for no path."""
    try:
        return Path(path).read_bytes() if path else b""
    except PermissionError as error:
        raise Denied(f"'{path}', named in the store's options, cannot be read: run as a user who may") from error
    except OSError as error:
        raise Invalid(f"'{path}', named in the store's options, cannot be read: {error.strerror}") from error


def _bad(url: str, reason: str) -> Invalid:
    return Invalid(f"'{without_secret(url)}' is not a store's URL: {reason}; {FORMS}")
