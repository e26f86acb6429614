"""What `weft init` is to write on this host, out of what the user asks for and what is there. Pure."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from weft.agent.config import Config
from weft.agent.config import text as commented
from weft.agent.settings import Value, in_toml
from weft.base.errors import Conflict, Invalid
from weft.model.codec import convert
from weft.setup.edit import edited, parsed
from weft.store.url import is_mesh, mesh_hosts, without_secret

FOLDER = "/etc/weft"
PASSWORD = f"{FOLDER}/store-password"
SECRET = f"{FOLDER}/mesh.secret"
STDIN = "-"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """As the options of `weft init` say. "" and () are not given. `join`: hosts of a mesh, by address or name. A file "-" is
    read from stdin."""

    store: str = ""
    join: tuple[str, ...] = ()
    node: str = ""
    iface: str = ""
    address: tuple[str, ...] = ()
    store_ca: str = ""
    store_cert: str = ""
    store_key: str = ""
    store_password_file: str = ""
    mesh_secret: str = ""


class There(NamedTuple):
    """`text`: of the settings file, None where there is none. `files`: what secret files hold now, by path. `stdin`: what was
    read there. `first`: whether this host is the first that is to be joined. `containers`: that it holds. `cluster`: whether it
    remembers one; `mesh`: whether it takes part in a mesh."""

    text: str | None = None
    files: Mapping[str, str] = {}
    stdin: str = ""
    first: bool = False
    containers: int = 0
    cluster: bool = False
    mesh: bool = False


class Decision(NamedTuple):
    """`text`: what the settings file is to say; `config`: what that means. `secrets`: files to write, by path. `changes`: in
    words. `forget`: this host belongs to another cluster from now on. `made`: the mesh's secret is made here."""

    text: str
    config: Config
    secrets: Mapping[str, str]
    changes: tuple[str, ...]
    forget: bool
    made: bool


def decide(wanted: Wanted, there: There) -> Decision:
    """Raises Invalid, Conflict, Failed: then nothing is to be changed."""
    before = convert(Config, parsed(there.text or ""))
    settings, files, made = _settings(wanted, there, before)
    text = edited(commented() if there.text is None else there.text, settings)
    config = convert(Config, parsed(text))
    other = config.store != before.store
    if other:
        _may_move(before.store, config.store, there)
    new = {path: content for path, content in files.items() if there.files.get(path) != content}
    changes = [f"{name} = {in_toml(value)}" for name, value in settings.items() if _said(before, name) != value]
    return Decision(text, config, new, tuple(changes), other and there.cluster, made)


def _said(config: Config, name: str) -> object:
    return getattr(config, name.replace("-", "_"))


def _settings(wanted: Wanted, there: There, before: Config) -> tuple[dict[str, Value], dict[str, str], bool]:
    """What is to be set, secret files by path, and whether one of them is made here."""
    if wanted.store and wanted.join:
        raise Invalid("--store and --join name two stores: give one of them")
    if (wanted.store_password_file, wanted.mesh_secret).count(STDIN) > 1:
        raise Invalid("only one of --store-password-file and --mesh-secret can come from stdin")
    url = f"mesh://{','.join(map(_in_url, wanted.join))}" if wanted.join else wanted.store
    url, password = _apart(url)
    if password and wanted.store_password_file:
        raise Invalid("--store has a password in it, and --store-password-file is given: leave one of them out")
    files, made = dict[str, str](), False
    named = {
        "store-ca": wanted.store_ca,
        "store-cert": wanted.store_cert,
        "store-key": wanted.store_key,
        "store-password-file": wanted.store_password_file,
        "mesh-secret": wanted.mesh_secret,
    }
    if password or wanted.store_password_file == STDIN:
        files[PASSWORD] = _line(password or there.stdin, "password")
        named["store-password-file"] = PASSWORD
    if wanted.mesh_secret == STDIN:
        files[SECRET] = _line(there.stdin, "mesh secret")
        named["mesh-secret"] = SECRET
    elif is_mesh(url) and not wanted.mesh_secret and not before.mesh_secret:
        named["mesh-secret"] = SECRET
        if SECRET not in there.files:
            files[SECRET], made = _made(url, there), True
    if SECRET in files and there.files.get(SECRET, files[SECRET]) != files[SECRET]:
        raise Conflict(
            f"{SECRET} holds another secret: if this host is to take part in another mesh, move it away first"
        )
    words: dict[str, Value] = {
        "node": wanted.node,
        "iface": wanted.iface,
        "address": wanted.address,
        "store": url,
        **named,
    }
    return {name: value for name, value in words.items() if value}, files, made


def _made(url: str, there: There) -> str:
    """A new secret, on the first of the hosts that are named. Raises Invalid on the others."""
    hosts = mesh_hosts(url)
    if not there.first:
        raise Invalid(
            f"the hosts of a mesh share a secret, and this host has none: `{joining(hosts)}`; on {hosts[0]}, "
            "the first host that is named, `weft init` makes it"
        )
    return b64encode(secrets.token_bytes(32)).decode() + "\n"


def joining(hosts: Sequence[str]) -> str:
    """The command for the other hosts of a mesh, which fetches the secret from the first."""
    return f"ssh {hosts[0]} cat {SECRET} | weft init --join {' '.join(hosts)} --mesh-secret -"


def _line(text: str, what: str) -> str:
    found = text.strip("\n")
    if not found or "\n" in found:
        raise Invalid(f"the {what} is to be one line" + ("" if found else ", and nothing came from stdin"))
    return found + "\n"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _apart(url: str) -> tuple[str, str]:
    """The URL without its password, and that."""
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, password = login.partition(":")
    return (f"{scheme}{separator}{user}{at}{place}", unquote(password)) if colon else (url, "")


def _may_move(before: str, after: str, there: There) -> None:
    """Raises Conflict."""
    held = list(_held(there))
    if held:
        raise Conflict(
            f"this host {' and '.join(held)} of {without_secret(before)}, and {without_secret(after)} is another store: take "
            "the host out of the former first (`systemctl stop weft-agent && weft agent purge`), then try again"
        )


def _held(there: There) -> Iterator[str]:
    if there.containers:
        yield f"has {there.containers} container{'s' * (there.containers > 1)} in the networks"
    if there.mesh:
        yield "takes part in the mesh"
