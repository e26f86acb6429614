"""The process around an agent: one at a time, its identity, its socket, its errors."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from errno import EBUSY
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, TCPConnector, UnixConnector

from support.agents import FakeHost, agent_on, create, make_agent, until
from weft.agent import main, process
from weft.agent.config import Config
from weft.agent.doors import Doors
from weft.agent.reload import Hangups
from weft.base.errors import Conflict, Denied, Failed, Invalid, Unavailable, WeftError
from weft.cluster import journal
from weft.cluster.journal import Journal
from weft.cluster.view import View
from weft.reconcile.reconciler import key_of


@pytest.fixture(autouse=True)
def _own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests run beside each other in one network namespace, and maybe beside an agent of the machine."""
    monkeypatch.setattr(process, "NAME", f"\0weft-agent-{os.getpid()}")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = Config(
        node="node-1", store=f"sqlite://{tmp_path}/weft.db", run_dir=f"{tmp_path}/run", state_dir=f"{tmp_path}/state"
    )
    main._make_dirs(made)
    return made


def test_only_one_runs(config: Config) -> None:
    with main.only_one(config):
        with pytest.raises(Conflict) as caught, main.only_one(config):
            pass
        assert str(caught.value) == (
            f"an agent is running on this host ({config.run_dir}/agent.lock is locked): stop it first"
        )
    with main.only_one(config):
        pass


def test_another_agent_in_this_network_namespace_is_refused_whatever_its_directories(config: Config) -> None:
    with process.alone_here(), pytest.raises(Conflict) as caught, main.only_one(config):
        pass
    said = f"another Weft agent (pid {os.getpid()}) runs in this network namespace: stop it first"
    assert str(caught.value) == said
    with main.only_one(config):
        pass


def test_an_agent_is_known_however_often_others_were_refused() -> None:
    with process.alone_here():
        for _ in range(300):  # more than fit into the queue of a socket that listens
            with pytest.raises(Conflict), process.alone_here():
                pass


def test_a_name_that_answers_nobody_does_not_keep_the_agent_away(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(process.NAME)
        with process.alone_here():
            assert "answers nobody, as no agent does" in caplog.text


def test_nobody_else_can_lock_the_agents_file(config: Config) -> None:
    path = Path(config.run_dir) / "agent.lock"
    path.touch(mode=0o644)
    with main.only_one(config):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_that_cannot_be_an_agent_does_not_keep_the_agent_away(caplog: pytest.LogCaptureFixture) -> None:
    script = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({process.NAME!r}); s.listen(); print(1); input()"
    )
    words = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", sys.executable, "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline()
        with process.alone_here():
            assert f"process {holder.pid} of user 0 holds the agent's name and is no agent" in caplog.text
        holder.communicate(b"")


def test_systemd_is_told_once_the_api_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process.tell_ready()  # started by somebody else than systemd
    for address in (str(tmp_path / "notify"), f"@weft-notify-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(address.replace("@", "\0"))
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            process.tell_ready()
            assert systemd.recv(100, socket.MSG_DONTWAIT) == b"READY=1"
            process.tell_reloading(True)
            assert systemd.recv(100, socket.MSG_DONTWAIT).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            process.tell_reloading(False)
            assert systemd.recv(100, socket.MSG_DONTWAIT) == b"READY=1"


def test_as_many_files_as_the_host_allows() -> None:
    script = """if True:
        import resource
        from weft.agent.process import allow_files
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 4000))
        allow_files()
        print(*resource.getrlimit(resource.RLIMIT_NOFILE))"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "4000 4000\n"


def test_a_run_directory_that_cannot_be_written_is_one_line(config: Config) -> None:
    with (
        pytest.raises(Denied, match=r"cannot write /proc/self/agent\.lock: "),
        main.only_one(Config(run_dir="/proc/self")),
    ):
        pass
    with pytest.raises(Denied, match=r"cannot write /proc/self/instance: "):
        main._instance(Path("/proc/self"))


def test_the_instance_is_made_once(config: Config) -> None:
    state = Path(config.state_dir)
    first = main._instance(state)
    assert len(first) == 32 and main._instance(state) == first
    assert [p.name for p in state.iterdir()] == ["instance"]


def test_a_host_whose_name_changes_stays_the_node_that_it_is(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unnamed = msgspec.structs.replace(config, node="")
    monkeypatch.setattr("platform.node", lambda: "First.example.org")
    assert main._name(unnamed) == "first"
    Journal(Path(config.state_dir), View("first")).load()
    monkeypatch.setattr("platform.node", lambda: "second")
    assert main._name(unnamed) == "first" and main._name(config) == "node-1"
    boot = tmp_path / "boot_id"
    boot.write_text("another")
    monkeypatch.setattr(journal, "BOOT_ID", boot)  # after a restart of the host nothing hangs on the name
    assert main._name(unnamed) == "second"


def test_directories_are_made_and_the_state_is_private(config: Config) -> None:
    assert stat.S_IMODE(Path(config.state_dir).stat().st_mode) == 0o700
    with pytest.raises(Denied, match="cannot make /proc/weft: "):
        main._make_dirs(Config(run_dir="/proc/weft"))


def test_it_asks_for_root(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in (lambda: main.run(lambda: config), lambda: main.purge(config)):
        with pytest.raises(Denied, match="the agent changes the host's network: run it as root"):
            command()


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: FakeHost) -> FakeHost:
    """`main` runs its agent on `host`."""

    def make(config: Config, name: str, instance: str, _store: object, **_: object) -> object:
        return make_agent(host, tmp_path / "weft.db", name, instance, metrics=config.metrics)

    monkeypatch.setattr(main, "Agent", make)
    monkeypatch.setattr(main, "set_up", lambda *_: None)
    monkeypatch.setattr("gc.freeze", lambda: None)
    return host


@pytest.fixture
def hangups() -> Iterator[Hangups]:
    former = signal.getsignal(signal.SIGHUP)
    yield Hangups()
    signal.signal(signal.SIGHUP, former)


@pytest.mark.usefixtures("in_memory")
def test_an_error_of_the_agent_is_raised_as_it_is(config: Config, tmp_path: Path) -> None:
    async def elsewhere() -> None:
        async with agent_on(FakeHost("192.168.1.9/24"), tmp_path / "weft.db", "node-1", instance="another"):
            await asyncio.to_thread(main.run, lambda: config)

    async def run() -> None:
        with pytest.raises(Conflict, match=r"the node name node-1 is in use by a running agent at 192\.168\.1\.9"):
            await elsewhere()

    # signal handlers want the main thread: the agent is told of none here
    asyncio.run(_without_signals(run))
    assert not Path(config.socket_path).exists()


async def _without_signals(run: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *_: None)
        patch.setattr("asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler", lambda *_: None)
        await run()  # type: ignore[operator]


async def serve(config: Config, host: FakeHost, store: Path) -> None:
    async with agent_on(host, store) as agent, Doors(config, agent).open():
        await create(agent)
        async with ClientSession(connector=UnixConnector(config.socket_path)) as client:
            answer = await client.get("http://weft/v1/status")
            assert (await answer.json())["node"] == "node-1"


async def test_the_socket_has_its_mode_and_goes_with_the_agent(
    config: Config, host: FakeHost, store_file: Path
) -> None:
    path = Path(config.socket_path)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # by an agent that was killed
    async with agent_on(host, store_file) as agent:
        async with Doors(config, agent).open():
            assert stat.S_IMODE(path.stat().st_mode) == 0o660 and path.is_socket()
        assert not path.exists()
    await serve(config, host, store_file)


async def test_a_file_in_the_place_of_the_socket_stays(config: Config, host: FakeHost, store_file: Path) -> None:
    path = Path(config.socket_path)
    path.write_text("somebody's")
    async with agent_on(host, store_file) as agent:
        with pytest.raises(Invalid, match="is not a socket: choose another path"):
            async with Doors(config, agent).open():
                pass
    assert path.read_text() == "somebody's"


async def test_a_socket_that_cannot_be(host: FakeHost, store_file: Path, config: Config) -> None:
    async with agent_on(host, store_file) as agent:
        nowhere = Config(run_dir=config.run_dir, socket=f"{config.run_dir}/no/where.sock")
        with pytest.raises(Failed, match=r"cannot listen at .*/no/where\.sock: "):
            async with Doors(nowhere, agent).open():
                pass
        strange = Config(run_dir=config.run_dir, socket_group="no-such-group")
        with pytest.raises(Invalid, match="socket-group 'no-such-group': there is no such group"):
            async with Doors(strange, agent).open():
                pass
        assert not Path(strange.socket_path).exists()


async def test_metrics_have_their_own_address(host: FakeHost, store_file: Path, config: Config) -> None:
    async with agent_on(host, store_file) as agent:
        with pytest.raises(Invalid, match=r"metrics 'nine': write ADDRESS:PORT, such as 127\.0\.0\.1:9473"):
            async with Doors(Config(run_dir=config.run_dir, metrics="nine"), agent).open():
                pass
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        taken = Config(run_dir=config.run_dir, metrics=f"127.0.0.1:{port}")
        with pytest.raises(Failed, match=f"cannot serve metrics at 127.0.0.1:{port}: "):
            async with Doors(taken, agent).open():
                pass
        server.close()
        await server.wait_closed()
        async with Doors(taken, agent).open(), ClientSession(connector=TCPConnector()) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/metrics")
            assert "weft_store_connected 1.0" in await answer.text()


async def test_an_agent_that_cannot_serve_is_stopped_in_order(
    config: Config,
    in_memory: FakeHost,
    hangups: Hangups,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", lambda *_: None)
    nowhere = Config(store=config.store, run_dir=config.run_dir, socket=f"{config.run_dir}/no/where.sock")
    with pytest.raises(Failed, match="cannot listen at"):
        await main._run(nowhere, "node-1", "instance", hangups, lambda: nowhere)
    assert "exception was never retrieved" not in caplog.text
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "agent"]


async def test_told_to_stop_it_answers_nobody_any_more(
    config: Config, in_memory: FakeHost, hangups: Hangups, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers: list[Callable[[], None]] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", lambda _, handler: handlers.append(handler))
    running = asyncio.create_task(main._run(config, "node-1", "instance", hangups, lambda: config))
    await until(lambda: handlers and Path(config.socket_path).is_socket())
    handlers[0]()
    await asyncio.wait_for(running, 5)
    assert not Path(config.socket_path).exists()


def test_of_several_errors_the_first_is_told() -> None:
    inner = ExceptionGroup[WeftError]("tasks", [Unavailable("first"), Failed("second")])
    assert str(main._first(BaseExceptionGroup[WeftError]("all", [inner]))) == "first"  # type: ignore[list-item]


async def _leave_a_network(host: FakeHost, store: Path) -> None:
    async with agent_on(host, store) as agent:
        await create(agent)


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeHost], None]:
    """Makes a host in memory the one that is purged."""

    def make(host: FakeHost) -> None:
        monkeypatch.setattr(main, "LinuxKernel", lambda run, ruled: host)
        monkeypatch.setattr(main, "write_files", lambda wanted, search: [])

    return make


def test_purge_removes_all_that_is_ours_and_nothing_else(
    config: Config, host: FakeHost, store_file: Path, on_host: Callable[[FakeHost], None]
) -> None:
    before = {key: obj for key, obj in host.objects.items() if key[0] != "sysctl"}
    asyncio.run(_leave_a_network(host, store_file))
    on_host(host)
    with main.only_one(config), pytest.raises(Conflict, match="an agent is running on this host"):
        main.purge(config)
    removed = main.purge(config)
    assert "link weft-blue" in removed and "link weft.1" in removed
    assert {key: obj for key, obj in host.objects.items() if key[0] != "sysctl"} == before
    assert main.purge(config) == []


def test_a_purge_ends_the_presence_so_that_the_node_can_be_removed_at_once(
    config: Config, host: FakeHost, store_file: Path, tmp_path: Path, on_host: Callable[[FakeHost], None]
) -> None:
    on_host(host)
    instance, path = main._instance(Path(config.state_dir)), tmp_path / "weft.db"

    async def present() -> bool:
        async with agent_on(FakeHost("192.168.1.9/24"), path, "node-2") as other:
            await until(lambda: other.loop.started)
            return "node-1" in other.view.present

    async def live() -> None:
        async with agent_on(host, path, "node-1", instance=instance):
            pass

    asyncio.run(live())
    assert asyncio.run(present()), "an agent that is only stopped is to come back unnoticed"
    main.purge(config)
    assert not asyncio.run(present())


def test_a_purge_without_the_store_is_done_all_the_same(
    config: Config, host: FakeHost, on_host: Callable[[FakeHost], None], caplog: pytest.LogCaptureFixture
) -> None:
    on_host(host)
    main._instance(Path(config.state_dir))
    away = Config(node="node-1", store="sqlite:///proc/no/weft.db", run_dir=config.run_dir, state_dir=config.state_dir)
    main.purge(away)
    assert "the store was not told that this node is gone" in caplog.text


def test_a_purge_that_does_not_get_all_says_so(
    config: Config, host: FakeHost, store_file: Path, on_host: Callable[[FakeHost], None]
) -> None:
    asyncio.run(_leave_a_network(host, store_file))
    on_host(host)
    host.fault = lambda _, op: EBUSY if key_of(op) == ("link", "", "weft-blue") else 0
    with pytest.raises(Failed, match=r"not all is removed: Device or resource busy \(\d+ objects\)"):
        main.purge(config)
