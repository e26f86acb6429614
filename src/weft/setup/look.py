"""What there is on this host before an agent runs here, and what speaks against one. Nothing is changed."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from weft.agent import preflight
from weft.agent.config import Config, load, probe_key, store_options
from weft.agent.control import is_local
from weft.agent.main import only_one
from weft.agent.mesh import FOLDER as MESH_FOLDER
from weft.api import types as t
from weft.base.errors import Conflict, Denied, Invalid, NotFound, Unavailable, WeftError
from weft.base.net import parse_address
from weft.cluster.journal import namespaces
from weft.daemons.voter import installed
from weft.datapaths.registry import driver
from weft.kernel.linux import LinuxKernel
from weft.mesh import ports
from weft.model import keys
from weft.setup import systemd
from weft.setup.decide import PASSWORD, SECRET, There
from weft.store.url import is_mesh, open_store, without_secret

UNIT = "weft-agent.service"
PATIENCE = 10.0
"""Seconds for the store to answer."""


def there(file: Path, hosts: tuple[str, ...], stdin: str) -> There:
    """`hosts`: of the mesh that is to be joined. Raises Denied."""
    config = load(file, {}) if file.exists() else Config()
    state = Path(config.state_dir)
    try:
        return There(
            text=file.read_text() if file.exists() else None,
            files={path: Path(path).read_text() for path in (PASSWORD, SECRET) if Path(path).exists()},
            stdin=stdin,
            first=bool(hosts) and _is_here(hosts[0]),
            containers=len(namespaces(state)),
            cluster=memory(config).exists(),
            mesh=(state / MESH_FOLDER).exists(),
        )
    except PermissionError as error:
        raise Denied(f"{error.filename} cannot be read: run as root") from None


def memory(config: Config) -> Path:
    """What this host remembers of its cluster."""
    return Path(config.state_dir) / "cluster.json"


def _is_here(host: str) -> bool:
    """Whether a host, by address or name, is this one."""
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        return any(is_local(parse_address(str(where[0]).partition("%")[0])) for *_, where in found)
    return False


def findings(config: Config, unit: systemd.State | None) -> Iterator[t.Finding]:
    """What is not fine, of a host on which the agent is to run with these settings. `unit`: of the agent, where systemd runs.
    Where it runs already, `weft doctor` asks it; here only what is new is looked at. Blocking."""
    running = unit is not None and unit.active
    looks: list[Callable[[], Iterator[t.Finding]]] = [lambda: _store(config), lambda: _secret(config)]
    if not running:
        looks += [lambda: _agent(config), lambda: _uplink(config), lambda: _ports(config)]
        looks += [_host]
    if unit is not None and not unit.there:
        advice = "install Weft's package, or give --no-start and run `weft agent run` in a way of your own"
        yield _error("unit", f"systemd knows no {UNIT}", advice)
    for look in looks:
        yield from look()


def _host() -> Iterator[t.Finding]:
    """What `weft doctor` finds without an agent. What only some drivers need is no reason to stop: no network needs it yet."""
    essential = {f"{kind}: {need}" for kind in ("tool", "kernel") for need in driver("bridge").needs}
    for found in preflight.findings():
        spare = found.fault in ("tool-missing", "kernel-feature") and found.check not in {"tool: nft", *essential}
        if found.result != "ok":
            yield msgspec.structs.replace(found, result="warning" if spare else found.result)


def _error(check: str, detail: str, advice: str = "") -> t.Finding:
    return t.Finding(check=check, result="error", detail=detail, advice=advice)


def _store(config: Config) -> Iterator[t.Finding]:
    """Whether it answers, and takes this user."""
    if is_mesh(config.store):
        if not installed():
            detail = "etcd is not installed, so this host uses the mesh's store and cannot be one of those that keep it"
            yield t.Finding(check="etcd", result="warning", detail=detail, advice="apt install etcd-server")
        return
    try:
        if path := config.store_password_file:
            _check_mode(Path(path))
        store = open_store(config.store, store_options(config))
        if not config.store.startswith("sqlite:"):
            asyncio.run(_ask(store.get, store.close))
    except (TimeoutError, WeftError) as error:
        reason = str(error) or f"no answer within {PATIENCE:g} s"
        name = without_secret(config.store)
        yield _error("store", reason if name in reason else f"{name}: {reason}")


async def _ask(get: Callable[..., object], close: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await get(keys.CLUSTER)  # type: ignore[misc]
    finally:
        await close()  # type: ignore[misc]


def _check_mode(path: Path) -> None:
    """Raises Denied, Invalid."""
    with suppress(FileNotFoundError):
        if path.stat().st_mode & 0o077:
            raise Invalid(f"{path} can be read or written by other users of this host: chmod 600 {path}")


def _secret(config: Config) -> Iterator[t.Finding]:
    try:
        probe_key(config)
    except ImportError as error:
        yield _error("mesh secret", f"the Python package {error.name} is missing", "pip install 'weft[mesh]'")
    except WeftError as error:
        yield _error("mesh secret", str(error))


def _agent(config: Config) -> Iterator[t.Finding]:
    """Whether another one runs here, that the unit knows nothing of."""
    if not Path(config.run_dir).is_dir():
        return
    try:
        with only_one(config):
            pass
    except (Conflict, Denied) as error:
        yield _error("agent", str(error))


def _uplink(config: Config) -> Iterator[t.Finding]:
    try:
        kernel = LinuxKernel(run=Path(config.run_dir))
        try:
            found = kernel.facts(config.iface, config.fixed)
        finally:
            kernel.close()
    except (NotFound, Conflict, Unavailable, Invalid) as error:
        yield _error("uplink", str(error))
        return
    if not found.addresses:
        yield _error(
            "uplink", f"{found.uplink} has no address that others reach", "give it one, or name another by --iface"
        )


def _ports(config: Config) -> Iterator[t.Finding]:
    """Those that the agent will listen at."""
    host, _, port = config.metrics.rpartition(":")
    wanted = [("metrics", host.strip("[]"), int(port), socket.SOCK_STREAM)] if port.isdecimal() else []
    if is_mesh(config.store):
        wanted += [("mesh", "", number, socket.SOCK_STREAM) for number in ports.TCP]
        wanted += [("mesh", "", ports.MEMBERS, socket.SOCK_DGRAM)]
    for what, address, number, kind in wanted:
        if problem := _taken(address, number, kind):
            proto = "tcp" if kind is socket.SOCK_STREAM else "udp"
            yield _error("port", f"{number}/{proto} ({what}): {problem}", f"`ss -lnp sport = {number}` says by whom")


def _taken(address: str, number: int, kind: socket.SocketKind) -> str:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, number))
        except OSError as error:
            return os.strerror(error.errno or 0) if error.errno == errno.EADDRINUSE else ""
    return ""
