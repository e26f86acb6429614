"""One agent asks another through the store: two agents in this process, on one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from support.agents import FakeHost, Tap, agent_on, until
from weft.agent.agent import Agent
from weft.agent.http import application
from weft.agent.resources.service import Service
from weft.api.dump import AddressDump, HostDump, NamespaceDump
from weft.api.operations import BY_NAME, NODE, OPERATIONS, PATIENCE
from weft.base.errors import Unavailable
from weft.cluster import post, questions
from weft.cluster.questions import Question
from weft.model import encode, keys
from weft.store.protocol import Put

Api = TestClient[Any, Any]


@pytest.fixture
async def other(store_file: Path) -> AsyncIterator[Agent]:
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as agent:
        yield agent


@pytest.fixture
async def api(agent: Agent, other: Agent) -> AsyncIterator[Api]:
    await until(lambda: "node-2" in agent.view.present and "node-2" in agent.view.nodes)
    async with TestClient(TestServer(application(Service(agent), agent.metrics.scrape))) as client:
        yield client


async def asked(api: Api, path: str, node: str = "node-2", patience: int = 5) -> tuple[int, Any]:
    answer = await api.get(path, headers={NODE: node, PATIENCE: str(patience)})
    return answer.status, await answer.json()


async def left(agent: Agent) -> list[str]:
    found = [await agent.store.list(prefix) for prefix in (keys.QUESTIONS, keys.ANSWERS)]
    return [item.key for listing in found for item in listing.items]


async def nothing_is_left(agent: Agent, wanted: bool = True) -> None:
    for _ in range(1_000):
        if (not await left(agent)) is wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(await left(agent))


def slow(monkeypatch: pytest.MonkeyPatch, agent: Agent) -> tuple[asyncio.Event, list[str]]:
    """`plan` of an agent waits for the event; who waits."""
    go, waiting = asyncio.Event(), list[str]()

    async def dry_run(network: str) -> list[str]:
        waiting.append(network)
        try:
            await go.wait()
        except asyncio.CancelledError:
            waiting.remove(network)
            raise
        return ["ip link"]

    monkeypatch.setattr(agent.loops, "dry_run", dry_run)
    return go, waiting


async def test_another_agent_answers(api: Api, agent: Agent) -> None:
    status, body = await asked(api, "/v1/status")
    assert status == 200 and body["node"] == "node-2"
    status, body = await asked(api, "/v1/status", node="node-1")
    assert status == 200 and body["node"] == "node-1"
    await nothing_is_left(agent)


async def test_parameters_and_errors_travel(api: Api, agent: Agent) -> None:
    status, body = await asked(api, "/v1/plan?network=red")
    assert (status, body["error"]) == (404, "not-found") and body["message"].startswith("node-2: no network red")
    status, body = await asked(api, "/v1/policy/counters")
    assert status == 200 and body["node"] == "node-2"
    await nothing_is_left(agent)


@pytest.mark.parametrize(
    ("path", "node", "error", "words"),
    [
        ("/v1/status", "node-9", "not-found", "no node node-9: `weft node ls` shows those there are"),
        ("/v1/status", "Node-2", "invalid", "'Node-2' is not a node name"),
        ("/v1/status", "a/b", "invalid", "'a/b' is not a node name"),
        ("/v1/networks", "node-2", "invalid", "networks is done by each agent for its own node only: run it on node-2"),
        ("/v1/plan?net=blue", "node-2", "invalid", "unknown parameter 'net'"),
    ],
)
async def test_what_is_refused(api: Api, agent: Agent, path: str, node: str, error: str, words: str) -> None:
    before = agent.store.commits if isinstance(agent.store, Tap) else 0
    status, body = await asked(api, path, node)
    assert (body["error"], words in body["message"]) == (error, True), (status, body)
    assert isinstance(agent.store, Tap) and agent.store.commits == before


@pytest.mark.parametrize("patience", ["0", "61", "x", "-1"])
async def test_patience_has_bounds(api: Api, patience: str) -> None:
    answer = await api.get("/v1/status", headers={NODE: "node-2", PATIENCE: patience})
    assert answer.status == 400 and "Weft-Patience" in (await answer.json())["message"]


async def test_only_what_is_afar_is_answered(agent: Agent, other: Agent) -> None:
    asking = Service(other).asking
    for operation in (*(op.name for op in OPERATIONS if not op.afar), "no-such-operation"):
        reply = await asking.answer(Question(operation=operation, asker="node-1", seconds=1))
        assert reply.error in ("denied", "unsupported"), operation
    strange = Question(operation="plan", asker="node-1", seconds=1, arguments={"self": "x"})
    assert (await asking.answer(strange)).error == "invalid"
    assert not BY_NAME["attach"].afar and BY_NAME["kernel"].afar


async def test_a_defect_there_is_told_here(
    api: Api, other: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(network: str) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(other.loops, "dry_run", broken)
    status, body = await asked(api, "/v1/plan")
    assert (status, body["error"]) == (500, "failed") and body["message"].startswith("node-2: the agent met")
    assert "ZeroDivisionError" in caplog.text
    assert (await asked(api, "/v1/status"))[0] == 200


async def test_a_large_answer_comes_in_pieces(api: Api, other: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PIECE", 1000)
    addresses = tuple(AddressDump(dev=f"d{n * n:x}", address=f"10.{n % 250}.{n % 7}.{n % 31}/24") for n in range(9_000))
    dump = HostDump(node="node-2", namespaces=(NamespaceDump(path="", addresses=addresses),))
    monkeypatch.setattr("weft.agent.resources.this_node.dump", lambda node, *more: dump)
    status, body = await asked(api, "/v1/kernel")
    assert status == 200 and len(body["namespaces"][0]["addresses"]) == 9_000


async def test_who_does_not_answer_is_told_so_and_nothing_is_left(
    api: Api, agent: Agent, other: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, waiting = slow(monkeypatch, other)
    status, body = await asked(api, "/v1/plan", patience=1)
    assert (status, body["error"]) == (503, "unavailable") and "node-2 has not answered within 1 s" in body["message"]
    await until(lambda: not waiting)
    await nothing_is_left(agent)


async def test_what_nobody_waits_for_any_more_is_given_up(
    api: Api, agent: Agent, other: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, waiting = slow(monkeypatch, other)
    question = asyncio.create_task(Service(agent).asking.ask("node-2", BY_NAME["plan"], {}, b"", 60))
    await until(lambda: waiting)
    question.cancel()
    await until(lambda: not waiting)
    await nothing_is_left(agent)


async def test_a_node_without_agent_is_not_waited_for(
    agent: Agent, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Service(agent).asking
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as other:
        await until(lambda: "node-2" in agent.view.present)
        slow(monkeypatch, other)
        question = asyncio.create_task(asking.ask("node-2", BY_NAME["plan"], {}, b"", 60))
        await until(lambda: other.post._answering)
        await agent.store.revoke(other.membership.presence_lease)  # as when its agent is dead
        with pytest.raises(Unavailable, match="node-2 cannot be asked: no agent runs there"):
            await question
    await agent.store.revoke(other.membership.presence_lease)
    await until(lambda: "node-2" not in agent.view.present)
    with pytest.raises(Unavailable, match="no agent runs there"):
        await asking.ask("node-2", BY_NAME["status"], {}, b"", 60)


async def test_many_at_once_wait_in_order(
    agent: Agent, other: Agent, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, waiting = slow(monkeypatch, other)
    asking = Service(agent).asking
    many = [asyncio.create_task(asking.ask("node-2", BY_NAME["plan"], {}, b"", 30)) for _ in range(50)]
    await until(lambda: len(other.post._answering) == 50)
    assert len(waiting) == post.AT_ONCE
    go.set()
    assert len(await asyncio.gather(*many)) == 50
    await nothing_is_left(agent)
    assert not other.post._answering and not agent.post._waiting


async def test_the_store_away_for_a_moment(
    api: Api, agent: Agent, other: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, waiting = slow(monkeypatch, other)
    question = asyncio.create_task(asked(api, "/v1/plan", patience=20))
    await until(lambda: waiting)
    assert isinstance(agent.store, Tap) and isinstance(other.store, Tap)
    agent.store.lose()
    other.store.lose()
    go.set()
    await until(lambda: agent.store_status.state == "lost")
    status, body = await asked(api, "/v1/status")
    assert status == 503 and "connection refused" in body["message"]
    agent.store.restore()
    other.store.restore()
    assert (await question)[0] == 200
    await nothing_is_left(agent)


async def test_an_agent_that_starts_again_answers_what_waits(agent: Agent, store_file: Path) -> None:
    """And what it had begun to answer before it was killed is no part of the answer."""
    asking, host = Service(agent).asking, FakeHost("192.168.1.254/24")
    async with agent_on(host, store_file, "node-2"):
        await until(lambda: "node-2" in agent.view.present)
    question = asyncio.create_task(asking.ask("node-2", BY_NAME["status"], {}, b"", 30))
    await until(lambda: agent.post._waiting)
    [id] = agent.post._waiting
    await nothing_is_left(agent, wanted=False)
    lease = questions.lease_of(id)
    await agent.store.commit([], [Put(keys.PIECE.key("node-1", id, n), b"\x00old", lease) for n in ("0", "1")])
    async with agent_on(host, store_file, "node-2"):
        assert msgspec.json.decode(await question)["node"] == "node-2"
    await nothing_is_left(agent)


async def test_a_question_that_is_too_old_is_not_answered(agent: Agent, other: Agent) -> None:
    """Its lease is over: what is left of it (a key without a lease, of somebody's own) gets no key for an answer."""
    id = questions.identity(77)
    question = Question(operation="status", asker="node-1", seconds=5)
    await agent.store.commit([], [Put(keys.QUESTION.key("node-2", id), encode(question))])
    await until(lambda: id in other.post._inbox._asked and not other.post._answering)
    assert await left(agent) == [keys.QUESTION.key("node-2", id)]
