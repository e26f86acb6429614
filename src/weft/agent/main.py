"""`weft agent run` and `weft agent purge`: the process around an agent."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import platform
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from weft.agent.agent import Agent
from weft.agent.config import Config, store_options
from weft.agent.doors import Doors
from weft.agent.encryption import WIREGUARD_KEY
from weft.agent.logs import set_up
from weft.agent.mesh import FOLDER as MESH_FOLDER
from weft.agent.mesh import Mesh
from weft.agent.parts import Surroundings
from weft.agent.process import allow_files, alone_here, tell_ready, tell_reloading
from weft.agent.reload import Hangups, Logs, Read, Reload
from weft.agent.versions import note_start
from weft.base import events
from weft.base.errors import Conflict, Denied, Failed, WeftError
from weft.base.names import check_name
from weft.cluster.journal import forget, former_name, namespaces
from weft.cluster.membership import presence_lease
from weft.daemons.bird import Bird
from weft.daemons.tunnels import Pump
from weft.flannel.members import leave_all
from weft.hoststate import HOST
from weft.kernel.host import probes
from weft.kernel.host.resolv_conf import write_files
from weft.kernel.linux import LinuxKernel
from weft.reconcile.kinds.table import describe
from weft.reconcile.reconciler import Reconciler, key_of
from weft.store.known import KnownStore
from weft.store.memory import remembered
from weft.store.url import Voters, is_mesh, needing, open_store

log = logging.getLogger(__name__)


INSTANCE = "instance"
"""The file in the state directory with this installation's own id."""
PATIENCE = 5.0
"""Seconds for the store to be told that this node is gone."""


def run(read: Read) -> None:
    """In the foreground until SIGTERM or SIGINT, which leave the data plane as it is. `read`: the settings, now and with each
    SIGHUP again. Raises WeftError."""
    hangups = Hangups()
    config = read()
    set_up(config.log_format, config.log_level)
    _need_root()
    allow_files()
    _make_dirs(config)
    with only_one(config):
        name = _name(config)
        instance = _instance(Path(config.state_dir))
        note_start(Path(config.state_dir))
        gc.freeze()  # what is imported stays: no need to look through it again and again
        try:
            asyncio.run(_run(config, name, instance, hangups, read))
        except ExceptionGroup as group:
            known, others = group.split(WeftError)
            if known is None or others is not None:
                raise
            raise _first(known) from None


def purge(config: Config) -> list[str]:
    """Remove all that is Weft's on this host: what was removed. Raises Conflict while the agent runs, Failed."""
    _need_root()
    _make_dirs(config)
    with only_one(config):
        run = Path(config.run_dir)
        ended = ["the BGP speaker and its routes"] if Bird(run).end() else []
        ended += _end_probes()
        ended += ["the pump"] if Pump(run).end() else []
        places = namespaces(Path(config.state_dir))
        kernel = LinuxKernel(run=Path(config.run_dir), ruled=places)
        try:
            reconciler = Reconciler(kernel, {}, time.monotonic, {HOST, *places})
            reconciler.complete = True
            report = reconciler.resync()
            write_files((), "")
            unread = [f"{what} cannot be read: {t.reason}" for (what, _), t in reconciler.unread.items()]
        finally:
            kernel.close()
    if unread:
        raise Failed(f"not all is removed: {unread[0]}: run it again")
    if report.failures:
        raise Failed(f"not all is removed: {report.failures[0].reason} ({len(report.failures)} objects)")
    _leave(config)
    ended += ["the voter of the mesh, and its data"] if _end_voter(config) else []
    asyncio.run(leave_all(Path(config.state_dir), store_options(config)))
    forget(Path(config.state_dir))
    (Path(config.state_dir) / WIREGUARD_KEY).unlink(missing_ok=True)
    _memory(config).unlink(missing_ok=True)  # this host belongs to no cluster any more
    return ended + [describe(key_of(op)) for op in report.ops]


def _leave(config: Config) -> None:
    """End this node's presence in the store: `weft node rm` elsewhere need not wait until it ends by itself."""
    if not (Path(config.state_dir) / INSTANCE).exists():
        return  # no agent ever ran here
    lease = presence_lease(_instance(Path(config.state_dir)), _name(config))

    voters = _voters(config)

    async def revoke() -> None:
        store = open_store(config.store, store_options(config), voters)
        try:
            async with asyncio.timeout(PATIENCE):
                await store.revoke(lease)
        finally:
            await store.close()

    try:
        asyncio.run(revoke())
    except (WeftError, TimeoutError) as error:
        log.warning(
            "the store was not told that this node is gone (%s): `weft node rm` elsewhere needs --force, or %g s of patience",
            str(error) or f"no answer within {PATIENCE:g} s",
            config.presence_ttl,
        )


@contextlib.contextmanager
def only_one(config: Config) -> Iterator[None]:
    """One agent per run directory and per network namespace. Raises Conflict, Denied."""
    path = Path(config.run_dir) / "agent.lock"
    try:
        lock = path.open("w")
        path.chmod(0o600)  # whoever may read a file may lock it, and keep the agent from starting
    except OSError as error:
        raise Denied(f"cannot write {path}: {error.strerror}: the agent needs its run directory") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"an agent is running on this host ({path} is locked): stop it first") from None
        with alone_here():
            yield


async def _run(config: Config, name: str, instance: str, hangups: Hangups, read: Read) -> None:
    mesh = _mesh(config, name)
    store = KnownStore(open_store(config.store, store_options(config), mesh), remembered(_memory(config)))
    agent = Agent(config, name, instance, store, around=Surroundings(mesh=mesh))
    doors = Doors(config, agent)
    reload = Reload(config, read, [agent, doors, Logs()])
    loop = asyncio.get_running_loop()
    main = asyncio.create_task(agent.run(), name="agent")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, main.cancel)
    hangups.listen()
    try:
        async with doors.open():
            log.info(
                "node %s, store %s, API at %s",
                name,
                agent.store_status.url,
                config.socket_path,
                extra=events.AGENT_STARTED,
            )
            tell_ready()
            reloading = asyncio.create_task(reload.run(hangups.next, tell_reloading), name="reload")
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await main
            finally:
                reloading.cancel()
    finally:
        main.cancel()
        await asyncio.wait([main])
        agent.close()
        await store.close()
    log.info("stopped; the data plane stays as it is", extra=events.AGENT_STOPPED)


def _mesh(config: Config, name: str) -> Mesh | None:
    """Where the store is one. Raises Invalid, Denied."""
    if not is_mesh(config.store):
        return None
    with needing(config.store, "mesh"):
        from weft.agent.mesh_real import mesh
    return mesh(config, name)


def _voters(config: Config) -> Voters | None:
    """Of a store that is asked without an agent. Raises Invalid, Denied."""
    if not is_mesh(config.store):
        return None
    with needing(config.store, "mesh"):
        from weft.agent.mesh_real import Named
    return Named(config)


def _end_probes() -> list[str]:
    """Namespaces of a test of the cluster's connectivity that its agent did not remove."""
    found = probes.left()
    for path in found:
        probes.unmake(path)
    return [f"probe {path}" for path in found]


def _end_voter(config: Config) -> bool:
    """And all that is known here of a mesh; whether there was a voter. Raises Failed."""
    folder = Path(config.state_dir) / MESH_FOLDER
    if not folder.exists():
        return False
    from weft.mesh.own import forget as forget_voter

    there = forget_voter(Path(config.run_dir), folder)
    shutil.rmtree(folder, ignore_errors=True)
    return there


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Denied("the agent changes the host's network: run it as root")


def _make_dirs(config: Config) -> None:
    for path, mode in ((config.run_dir, 0o755), (config.state_dir, 0o700)):
        try:
            Path(path).mkdir(mode=mode, parents=True, exist_ok=True)
        except OSError as error:
            raise Denied(f"cannot make {path}: {error.strerror}") from None


def _name(config: Config) -> str:
    """The node's: as it was told to be, else as it was already in this boot, else the host's. Raises Invalid."""
    host = platform.node().split(".")[0].lower()
    former = former_name(Path(config.state_dir))
    name = check_name("node", config.node or former or host)
    if name != host and not config.node:
        log.warning(
            "this host is called %s now and stays node %s until it restarts, or --node says otherwise",
            host,
            name,
            extra=events.NAME_KEPT,
        )
    return name


def _instance(state: Path) -> str:
    """This installation's own id, made once. Raises Denied."""
    path = state / INSTANCE
    try:
        if not path.exists():
            made = path.with_suffix(".new")
            made.write_text(uuid.uuid4().hex)
            made.rename(path)
        return path.read_text().strip()
    except OSError as error:
        raise Denied(f"cannot write {path}: {error.strerror}: the agent needs its state directory") from None


def _memory(config: Config) -> Path:
    """What this host remembers of its cluster's store."""
    return Path(config.state_dir) / "cluster.json"


def _first(group: BaseExceptionGroup[WeftError]) -> WeftError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, WeftError)
    return error
