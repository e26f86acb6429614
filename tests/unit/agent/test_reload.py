"""Settings that are read again while the agent runs: all of what may change, or nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, TCPConnector

from support.agents import FakeHost, agent_on, create, until
from weft.agent.config import SETTINGS, Config
from weft.agent.doors import Doors
from weft.agent.logs import set_up
from weft.agent.reload import Hangups, Logs, Reload, changes, taken
from weft.base.errors import Failed, Invalid, WeftError

OTHER = Config(
    node="node-2",
    store="etcds://weft@h1",
    labels={"zone": "b"},
    resync=5.0,
    socket_mode="0600",
    control="open",
    withdraw=False,
)


def test_what_may_change_does_and_the_rest_stays() -> None:
    found = changes(Config(), OTHER)
    assert [change.setting.name for change in found] == [
        "node", "labels", "store", "control", "withdraw", "resync", "socket-mode",
    ]  # fmt: skip
    now = taken(Config(), found, OTHER)
    assert now == Config(labels={"zone": "b"}, resync=5.0, socket_mode="0600", control="open", withdraw=False)
    assert [str(change) for change in changes(now, OTHER)] == [
        'node = "node-2" (was "")',
        'store = "etcds://weft@h1" (was "sqlite:///var/lib/weft/weft.db")',
    ]


def test_settings_that_an_agent_is_built_on_are_never_live() -> None:
    fixed = {setting.name for setting in SETTINGS if not setting.said.live}
    assert {
        "node",
        "store",
        "store-ca",
        "mesh-secret",
        "run-dir",
        "state-dir",
        "socket",
        "presence-ttl",
        "tenure",
    } <= fixed


class Part:
    def __init__(self, fails: str = "") -> None:
        self.has = [Config()]
        self._fails = fails

    async def take(self, config: Config) -> None:
        if self._fails:
            raise Failed(self._fails)
        self.has.append(config)


class TestReload:
    async def test_it_says_what_changed_and_what_needs_a_restart(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        part = Part()
        reload = Reload(Config(), lambda: Config(resync=5.0, node="node-2"), [part])
        await reload.once()
        assert reload.config == part.has[-1] == Config(resync=5.0)
        assert [(r.levelname, r.message) for r in caplog.records] == [
            ("WARNING", 'setting changed, which needs a restart of the agent: node = "node-2" (was "")'),
            ("INFO", "setting changed: resync = 5 (was 60)"),
        ]

    async def test_nothing_new(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        part = Part()
        await Reload(Config(), Config, [part]).once()
        assert caplog.messages == ["the settings are read again: nothing in them has changed"]
        assert len(part.has) == 1

    async def test_a_bad_file_is_refused_in_one_line(self, caplog: pytest.LogCaptureFixture) -> None:
        def read() -> Config:
            raise Invalid("unknown setting 'resink': did you mean resync?")

        part = Part()
        reload = Reload(Config(), read, [part])
        await reload.once()
        assert caplog.messages == [
            "the settings are not read again, and those from before hold: unknown setting 'resink': did you mean resync?"
        ]
        assert (reload.config, len(part.has)) == (Config(), 1)

    async def test_where_one_part_cannot_the_others_go_back(self, caplog: pytest.LogCaptureFixture) -> None:
        first, second = Part(), Part("port 9473 is taken")
        reload = Reload(Config(), lambda: Config(resync=5.0), [first, second])
        await reload.once()
        assert first.has == [Config(), Config(resync=5.0), Config()]
        assert reload.config == Config() and "hold: port 9473 is taken" in caplog.text


@pytest.fixture
def hangups() -> Iterator[Hangups]:
    former = signal.getsignal(signal.SIGHUP)
    yield Hangups()
    signal.signal(signal.SIGHUP, former)


async def test_a_hangup_never_ends_the_process_and_none_is_lost(hangups: Hangups) -> None:
    os.kill(os.getpid(), signal.SIGHUP)  # while it starts
    hangups.listen()
    told: list[bool] = []
    read: list[int] = []
    reload = Reload(Config(), lambda: read.append(1) or Config(), [])  # type: ignore[func-returns-value]
    running = asyncio.create_task(reload.run(hangups.next, told.append))
    await until(lambda: told == [True, False])
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(read) == 2 and told == [True, False] * 2)
    running.cancel()


class TestDoors:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Config:
        return Config(run_dir=str(tmp_path))

    async def test_the_socket_is_opened_to_others_and_closed_again(
        self, config: Config, host: FakeHost, store_file: Path
    ) -> None:
        path = Path(config.socket_path)
        async with agent_on(host, store_file) as agent:
            doors = Doors(config, agent)
            async with doors.open():
                await doors.take(msgspec.structs.replace(config, socket_mode="0666", socket_group="daemon"))
                assert stat.S_IMODE(path.stat().st_mode) == 0o666 and path.stat().st_gid != os.getegid()
                with pytest.raises(Invalid, match="no such group"):
                    await doors.take(msgspec.structs.replace(config, socket_group="nobodys"))
                await doors.take(config)
                assert stat.S_IMODE(path.stat().st_mode) == 0o660 and path.stat().st_gid == os.getegid()

    async def test_metrics_come_move_and_go(self, config: Config, host: FakeHost, store_file: Path) -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        here = msgspec.structs.replace(config, metrics=f"127.0.0.1:{port}")
        everywhere = msgspec.structs.replace(config, metrics=f"0.0.0.0:{port}")
        url = f"http://127.0.0.1:{port}/metrics"
        async with (
            agent_on(host, store_file) as agent,
            ClientSession(connector=TCPConnector(force_close=True)) as client,
        ):
            doors = Doors(config, agent)
            async with doors.open():
                for wanted in (here, everywhere):
                    await doors.take(wanted)
                    assert (await client.get(url)).status == 200
                with pytest.raises(Failed, match=r"cannot serve metrics at 192\.0\.2\.1:"):
                    await doors.take(msgspec.structs.replace(config, metrics=f"192.0.2.1:{port}"))
                assert (await client.get(url)).status == 200, "where they were"
                await doors.take(config)
                with pytest.raises(OSError):
                    await client.get(url)


class TestAgent:
    async def test_others_hear_of_new_labels_and_of_a_new_address(self, host: FakeHost, store_file: Path) -> None:
        async with agent_on(host, store_file) as agent:
            await create(agent)
            await agent.take(msgspec.structs.replace(agent.config, labels={"rack": "7"}, asn=64_999, segment="left"))
            node = agent.view.nodes[agent.view.me]
            await until(lambda: agent.view.nodes[agent.view.me].labels == {"rack": "7"})
            node = agent.view.nodes[agent.view.me]
            assert (node.asn, node.segment) == (64_999, "left")

    async def test_containers_may_reach_what_controls_the_cluster(self, host: FakeHost, store_file: Path) -> None:
        async with agent_on(host, store_file) as agent:
            await create(agent)
            host_before = agent.host.host
            assert host_before and not host_before.control_open
            await agent.take(msgspec.structs.replace(agent.config, control="open", encrypt=True))
            assert agent.host.host and agent.host.host.control_open and agent.host.host.encrypts

    async def test_an_uplink_that_is_not_there_is_refused(self, host: FakeHost, store_file: Path) -> None:
        async with agent_on(host, store_file) as agent:
            await create(agent)
            before = agent.config
            host.no_uplink = "no interface eth9"
            with pytest.raises(WeftError, match="no interface eth9"):
                await agent.take(msgspec.structs.replace(before, iface="eth9", labels={"a": "b"}))
            assert agent.config == before

    async def test_the_kernel_is_compared_as_often_as_the_settings_say(self, host: FakeHost, store_file: Path) -> None:
        async with agent_on(host, store_file, resync=3600.0) as agent:
            await create(agent)
            await until(lambda: agent.loop.last_resync)
            before = agent.loop.last_resync
            await agent.take(msgspec.structs.replace(agent.config, resync=1.0))
            await until(lambda: agent.loop.last_resync > before)


async def test_the_log_changes_its_level_and_form(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        set_up("text", "info")
        await Logs().take(Config(log_format="json", log_level="debug"))
        logging.getLogger("weft.x").debug("seen")
        assert '"message": "seen"' in capsys.readouterr().err
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
