"""Every operation over HTTP: status codes, error JSON, the OpenAPI document, metrics."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from support.agents import FakeHost, Tap, until
from support.mesh_parts import Scene
from support.watches import FakeWatch
from weft import serving
from weft.agent.agent import Agent
from weft.agent.http import application, metrics_application, openapi
from weft.agent.resources.service import Service
from weft.api.dump import HostDump
from weft.api.operations import NODE, OPERATIONS, PATIENCE, Operation
from weft.base.errors import ERRORS
from weft.hoststate import HOST
from weft.kernel.live.probe import Sent
from weft.model.codec import decode
from weft.model.endpoint import HOST_ITSELF
from weft.store.protocol import Compacted

Client = TestClient[Any, Any]
BLUE = {"network": {"name": "blue", "driver": "vxlan", "subnets": ["10.1.0.0/16"]}}


@pytest.fixture
async def api(agent: Agent) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(Service(agent), agent.metrics.scrape))) as client:
        yield client


async def refused(answer: ClientResponse, status: int, error: str) -> str:
    """The message of an answer that has to be an error in JSON."""
    body = await answer.json()
    assert (answer.status, body["error"], set(body)) == (status, error, {"error", "message"}), body
    assert "\n" not in body["message"] and body["message"]
    return str(body["message"])


async def done(answer: ClientResponse) -> Any:
    assert answer.status == 200 and answer.content_type == "application/json", await answer.text()
    return await answer.json()


SHOP = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
OFFICE = {"network": {"name": "office", "driver": "mesh", "subnets": ["172.111.222.0/24"]}}
PROD = {"network": {"name": "prod", "driver": "routed", "subnets": ["10.9.0.0/16"]}}


async def test_every_operation_answers_as_it_is_described(
    api: Client, agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.agent.resources.this_node.dump", lambda node, *more: HostDump(node=node, namespaces=()))
    monkeypatch.setattr("weft.agent.resources.live.Watch", FakeWatch)
    monkeypatch.setattr("weft.kernel.live.probe.send", lambda *_args, **_more: Sent("", 0, "nothing", "no answer"))
    host.open("c1")
    scene = Scene(1, 2)
    scene.begin()
    agent.mesh = scene.mesh
    made = await done(await api.post("/v1/networks", json=BLUE))
    endpoint = await done(await api.post("/v1/endpoints", json={"target": "c1", "network": "blue", "owner": "someone"}))
    path = {
        "name": {"nodes": "node-1", "networks": "blue", "bgp": "tor"},
        "ref": {"endpoints": endpoint["id"]},
        "address": {"networks": "10.1.1.9"},
    }
    path["run"] = {"checks": "0badcafe"}
    path["ref"] |= {"policies": "tier%2F%2Fdefault", "services": "blue%2Fweb"}
    web = {"name": "web", "network": "blue", "ports": [{"port": 80}], "members": ["c1"]}
    await done(await api.post("/v1/services", json=web))
    tried = {"create_service", "create_network", "attach", "remove_node", "remove_network", "detach", "bgp_routes"}
    await done(await api.post("/v1/networks", json=PROD))
    await done(await api.post("/v1/networks", json=OFFICE))
    bodies = {
        "reserve": {"family": 4, "owner": "someone"},
        "expose": {},
        "publish": {"owner": "someone"},
        "set_network": {"mtu": 1400},
        "add_pool": {"subnet": "10.8.0.0/16"},
        "set_pool": {"subnet": "10.8.0.0/16", "disabled": True},
        "check_ipam": {"fix": True},
        "move": {"target": "c3"},
        "label": {"labels": {"tier": "front"}},
        "add_floating": {"addresses": ["203.0.113.7"]},
        "apply_policies": {"documents": [{"place": "here", "document": SHOP}]},
        "apply": {"documents": [{"place": "here", "document": SHOP}]},
        "remove_policies": {"refs": ["namespace/shop"]},
        "set_service": {"drain": 5, "health": {"kind": "api"}},
        "drain": {"member": "c1"},
        "report_health": {"member": "c1", "ready": True},
        "set_bgp": {"hold_time": 9},
        "place_probes": {"run": "0badcafe", "seconds": 60},
        "run_tests": {"probe": "", "tests": [{"kind": "udp", "target": "10.1.1.9", "port": 7}]},
        "start_watch": {"token": "5e0d7a1c5e0d7a1c"},
        "send_probe": {"token": "5e0d7a1c5e0d7a1c", "target": "10.1.1.9"},
        "add_bgp_peer": {"peer": {"name": "tor", "address": "192.168.1.1", "asn": 65001}},
    }
    for op in OPERATIONS:
        if op.name in tried:
            continue
        if "pool" in op.name:
            path["name"]["networks"] = "prod"
        if op.name in ("expose", "hide"):
            path["name"]["networks"] = "office"
            host.cookies[HOST] = host.cookies[HOST_ITSELF] = 1
        if op.name == "move":
            for name in ("c2", "c3"):
                host.open(name)
            await done(await api.post("/v1/endpoints", json={"target": "c2", "network": "prod", "name": "mover"}))
            path["ref"]["endpoints"] = "mover"
        url = re.sub(r"\{(\w+)\}", lambda m, op=op: path[m[1]][op.path.split("/")[2]], op.path)
        params = {"owner": "someone"} if op.name in ("check", "release") else {}
        params |= {"source": "203.0.113.7", "target": "node-1"} if op.name == "explain" else {}
        params |= {"subnet": "10.8.0.0/16"} if op.name == "remove_pool" else {}
        params |= {"addresses": "203.0.113.7"} if op.name == "remove_floating" else {}
        answer = await api.request(op.method, url, params=params, json=bodies.get(op.name))
        path["name"]["networks"] = "blue"
        assert answer.status == 200, (op.name, await answer.text())
        _decodes(op, await answer.read())
        if op.name == "start_watch":
            path["id"] = {"watches": (await answer.json())["id"]}
        tried.add(op.name)
    assert made["name"] == "blue" and made["options"]["vni"] == 1 and made["options"]["direct-routing"] is False
    assert made["leases"][0]["node"] == "node-1" and made["problems"] == []
    detached = await done(await api.delete("/v1/endpoints", params={"target": "c1", "network": "blue"}))
    assert detached == {"what": ["c1 from blue"]}
    assert await done(await api.delete("/v1/networks/blue")) == {"what": ["blue"]}
    node = await done(await api.delete("/v1/nodes/node-1", params={"force": "1"}))
    assert node["what"][0] == "node-1"
    assert tried == {op.name for op in OPERATIONS}


def _decodes(op: Operation, body: bytes) -> None:
    decode(op.reply, body)


@pytest.mark.parametrize(
    ("method", "url", "status", "error", "says"),
    [
        ("GET", "/v1/nothing", 404, "not-found", "Not Found"),
        ("PUT", "/v1/status", 405, "invalid", "Method Not Allowed"),
        ("GET", "/v1/status?verbose=1", 400, "invalid", "unknown parameter 'verbose': status takes none"),
        ("GET", "/v1/endpoints?net=x", 400, "invalid", "unknown parameter 'net': endpoints takes network, node"),
        ("GET", "/v1/check?owner=x", 404, "not-found", "no endpoint of owner x here"),
        ("GET", "/v1/networks/green", 404, "not-found", "no network green: `weft network ls` shows those there are"),
        ("GET", "/v1/nodes/nine", 404, "not-found", "no node nine: `weft node ls` shows those there are"),
        ("GET", "/v1/endpoints/x", 404, "not-found", "no endpoint x: `weft endpoint ls` shows those there are"),
        ("GET", "/v1/endpoints?network=green", 404, "not-found", "no network green"),
        ("GET", "/v1/endpoints?node=nine", 404, "not-found", "no node nine"),
        ("GET", "/v1/plan?network=green", 404, "not-found", "no network green"),
        ("GET", "/v1/kernel?namespaces=/etc", 404, "not-found", "no endpoint here in namespace /etc"),
        ("DELETE", "/v1/networks/green", 404, "not-found", "no network green"),
        ("DELETE", "/v1/nodes/nine", 404, "not-found", "no node nine"),
        (
            "DELETE",
            "/v1/nodes/node-1",
            409,
            "conflict",
            "node-1's agent is running: stop it and `weft agent purge`",
        ),
        ("DELETE", "/v1/endpoints", 400, "invalid", "detach: say which container: target=NAME"),
        ("POST", "/v1/networks", 400, "invalid", "not a CreateNetwork: "),
    ],
)
async def test_what_is_refused(api: Client, method: str, url: str, status: int, error: str, says: str) -> None:
    assert says in await refused(await api.request(method, url), status, error)


@pytest.mark.parametrize(
    ("url", "body", "says"),
    [
        ("/v1/endpoints", {"target": "c1", "network": "blue", "nmae": "x"}, "unknown field `nmae`"),
        ("/v1/endpoints", {"target": "c1"}, "missing required field `network`"),
        ("/v1/endpoints", {"target": 1, "network": "blue"}, "Expected `str`, got `int` - at `$.target`"),
        (
            "/v1/endpoints",
            {"target": "c1", "network": "blue", "addresses": ["10.1.0"]},
            "'10.1.0' is not an IP address",
        ),
        ("/v1/networks", {"network": {"name": "x", "driver": "vxlan"}}, "missing required field `subnets`"),
        ("/v1/networks", {"network": BLUE["network"], "force": True}, "unknown field `force`"),
    ],
)
async def test_a_request_is_taken_word_for_word(api: Client, url: str, body: dict[str, Any], says: str) -> None:
    assert says in await refused(await api.post(url, json=body), 400, "invalid")


@pytest.mark.parametrize("cls", ERRORS.values(), ids=lambda cls: cls.code)
async def test_each_error_has_its_status(api: Client, agent: Agent, monkeypatch: pytest.MonkeyPatch, cls: Any) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cls("told in one line")

    monkeypatch.setattr("weft.agent.resources.infos.status", fail)
    assert await refused(await api.get("/v1/status"), cls.status, cls.code) == "told in one line"


async def test_an_error_of_no_users_kind_has_a_known_word(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Compacted("revision 4 is gone")

    monkeypatch.setattr("weft.agent.resources.infos.status", fail)
    await refused(await api.get("/v1/status"), Compacted.status, "unavailable")


async def test_an_unexpected_error_is_answered_and_logged(
    api: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("weft.agent.resources.infos.status", lambda agent, **_: agent.nonsense)
    message = await refused(await api.get("/v1/status"), 500, "failed")
    assert message == "the agent met an unexpected error: its log has the traceback"
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.getMessage() == "GET /v1/status" and record.exc_info and record.exc_info[0] is AttributeError
    assert (await api.get("/v1/nodes")).status == 200  # and goes on


async def test_a_lost_store_is_told_as_such(api: Client, agent: Agent) -> None:
    await done(await api.post("/v1/networks", json=BLUE))
    assert isinstance(agent.store, Tap)
    agent.store.lose("etcd 10.0.0.1:2379: connection refused")
    body = {"target": "c1", "network": "green"}
    assert await refused(await api.post("/v1/endpoints", json=body), 503, "unavailable") == (
        "network green is not known to this host, and the store is away (etcd 10.0.0.1:2379: connection refused): wait until "
        "it is back"
    )
    await until(lambda: agent.store_status.state == "lost")
    status = await done(await api.get("/v1/status"))
    assert (status["state"], status["store"]["state"]) == ("degraded", "lost")
    agent.store.restore()


def test_the_openapi_document_describes_every_operation() -> None:
    document = msgspec.json.decode(msgspec.json.encode(openapi()))
    described = {
        (entry["operationId"], method.upper(), path)
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
    }
    assert described == {(op.name, op.method, op.path) for op in OPERATIONS}
    for op in OPERATIONS:
        entry = document["paths"][op.path][op.method.lower()]
        parameters = {(p["name"], p["in"], p["required"]) for p in entry["parameters"]}
        wanted = {(name, "path", True) for name in re.findall(r"\{(\w+)\}", op.path)}
        wanted |= {(name, "header", False) for name in (NODE, PATIENCE) if op.afar}
        assert parameters == wanted | {(name, "query", False) for name in op.query}
        assert set(entry["responses"]) == {"200", "default"} and entry["summary"] == op.summary
        assert ("requestBody" in entry) == (op.request is not None)
    error = document["paths"]["/v1/status"]["get"]["responses"]["default"]["content"]["application/json"]["schema"]
    assert error == {"$ref": "#/components/schemas/Error"}
    body = document["paths"]["/v1/endpoints"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Attach"}


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = msgspec.json.decode(msgspec.json.encode(openapi()))
    found = list(_references(document))
    assert len(found) > 20
    for ref in found:
        place: Any = document
        for part in ref.removeprefix("#/").split("/"):
            place = place[part]
        assert place.get("type") or place.get("anyOf")
    assert document["components"]["schemas"]["Attach"]["additionalProperties"] is False


def _references(part: Any) -> Any:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)


async def test_the_document_is_served(api: Client) -> None:
    assert (await done(await api.get("/openapi.json")))["openapi"] == "3.1.0"


async def test_metrics(api: Client, agent: Agent, host: FakeHost) -> None:
    host.open("c1")
    await done(await api.post("/v1/networks", json=BLUE))
    await done(await api.post("/v1/endpoints", json={"target": "c1", "network": "blue"}))
    answer = await api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {f.name: f for f in text_string_to_metric_families(await answer.text())}
    samples = {(s.name, *sorted(s.labels.values())): s.value for f in families.values() for s in f.samples}
    assert samples["weft_objects", "desired", "link"] == samples["weft_objects", "actual", "link"] == 4
    assert samples["weft_objects", "failed", "link"] == 0
    assert samples["weft_store_connected",] == 1 and samples["weft_store_revision",] > 0
    assert samples["weft_nodes_alive",] == 1 and samples["weft_endpoints",] == 1
    assert samples["weft_attach_seconds_count",] == 1 and samples["weft_converge_seconds_count",] >= 2
    assert samples["weft_kernel_writes_total",] >= 10 and 0 <= samples["weft_resync_age_seconds",] < 60
    await until(lambda: "weft_watch_lag_seconds_count 0.0" not in agent.metrics.exposition()[0].decode())


async def test_the_metrics_port_serves_metrics_and_nothing_else(agent: Agent) -> None:
    """Whoever reaches it over TCP is nobody in particular: no operation of the API is there."""
    async with TestClient(TestServer(metrics_application(agent.metrics.scrape))) as client:
        assert "weft_store_connected" in await (await client.get("/metrics")).text()
        for op in OPERATIONS:
            answer = await client.request(
                op.method, op.path.format(name="blue", ref="x", id="x", run="x", address="10.1.0.1"), json=BLUE
            )
            assert answer.status == 404, op.name
        for path in ("/openapi.json", "/", "/v1/status", "/metrics/v1/status"):
            assert (await client.get(path)).status == 404
        assert (await client.post("/metrics")).status == 405
    assert not agent.view.networks


MANY = [f"10.{n // 256}.{n % 256}.0/24" for n in range(10_000)]


@pytest.mark.parametrize(
    ("method", "path", "asked", "said"),
    [
        (
            "POST",
            "/v1/networks",
            {"network": {"name": "n", "driver": "routed", "subnets": MANY}},
            r"subnets: 10000 are too many: at most 64",
        ),
        (
            "POST",
            "/v1/networks",
            {
                "network": {
                    "name": "n",
                    "driver": "vxlan",
                    "subnets": ["10.1.0.0/16"],
                    "labels": {str(n): "" for n in range(300)},
                }
            },
            "300 labels are too many",
        ),
        (
            "POST",
            "/v1/networks",
            {
                "network": {
                    "name": "n",
                    "driver": "vxlan",
                    "subnets": ["10.1.0.0/16"],
                    "options": {"reserve": ",".join(MANY)},
                }
            },
            "option reserve is longer than 16384",
        ),
        (
            "POST",
            "/v1/endpoints",
            {
                "target": "c",
                "network": "n",
                "ports": [{"host_port": 1, "container_port": 1, "count": 4_999}] * 4,
            },
            "published ports: 19996 are too many",
        ),
        (
            "POST",
            "/v1/endpoints",
            {"target": "c", "network": "n", "ports": [{"host_port": 1, "container_port": 1, "count": 65_535}]},
            "65535 are too many",
        ),
        (
            "PUT",
            "/v1/ports",
            {"owner": "o", "ports": [{"host_port": 1, "container_port": 1, "count": 65_535}]},
            "65535 are too many",
        ),
        (
            "POST",
            "/v1/endpoints",
            {"target": "c", "network": "n", "floating": ["10.9.9.9"] * 65},
            "floating addresses: 65 are too many",
        ),
        (
            "POST",
            "/v1/endpoints",
            {"target": "c", "network": "n", "ranges": [{"subnet": "10.1.0.0/16"}] * 65},
            "ranges: 65 are too many",
        ),
        ("POST", "/v1/endpoints", {"target": "/run/x\0", "network": "n"}, "target '/run/x"),
        ("POST", "/v1/endpoints", {"target": "c", "network": "n", "labels": {"a": "\x1b[2J"}}, "label a has a value"),
        ("POST", "/v1/endpoints/x/floating", {"addresses": ["10.9.9.9"] * 65}, "65 are too many"),
    ],
)
async def test_a_request_has_bounds(api: Client, method: str, path: str, asked: object, said: str) -> None:
    assert said in await refused(await api.request(method, path, json=asked), 400, "invalid")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"network":' * 50_000, b'{"zz":' + b"[" * 200_000])
async def test_deep_nesting_is_a_wrong_request_and_no_defect(api: Client, body: bytes) -> None:
    for path in ("/v1/networks", "/v1/endpoints", "/v1/bgp/peers"):
        await refused(await api.post(path, data=body), 400, "invalid")


async def test_a_body_too_large_is_refused_in_one_line(api: Client) -> None:
    said = await refused(await api.post("/v1/networks", data=b" " * 600_000), 400, "invalid")
    assert said == "the request is larger than 524288 octets: ask for less at once"


@pytest.mark.parametrize(
    "subnet",
    [
        "0.0.0.0/8",
        "0.1.0.0/16",
        "127.3.0.0/16",
        "240.0.0.0/8",
        "255.255.255.0/24",
        "169.254.7.0/24",
        "224.0.0.0/3",
        "128.0.0.0/1",
        "::ffff:10.1.0.0/112",
        "::/64",
        "64:ff9b::/96",
        "fe80:1::/32",
        "ff05::/16",
        "fd00:77::%x/48",
    ],
)
async def test_a_subnet_that_no_container_can_have(api: Client, subnet: str) -> None:
    asked = {"network": {"name": "n", "driver": "bridge", "subnets": [subnet]}}
    assert "choose a private prefix" in (
        said := await refused(await api.post("/v1/networks", json=asked), 400, "invalid")
    ) or ("%x" in subnet and "is not a prefix" in said)


async def test_who_waits_for_changes_does_not_keep_the_agent_from_its_end(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def waits(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("weft.agent.resources.topology.TopologyOf.topology", waits)
    monkeypatch.setattr(serving, "GRACE", 60.0)
    path = tmp_path / "weft.sock"
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client, asyncio.timeout(30):
        app = application(Service(agent), agent.metrics.scrape)
        async with serving.serving(app, [serving.unix_socket(path)]):
            waiting = asyncio.create_task(client.get("http://agent/v1/topology?wait=30"))
            await asked.wait()
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_documents_that_belong_together_come_in_one_large_request(api: Client) -> None:
    """Others may not be so large."""
    more = {"metadata": {"name": "shop", "annotations": {f"n{n}": "x" * 10_000 for n in range(80)}}}
    shop = {"documents": [{"place": "here", "document": {**SHOP, **more}}]}

    async def post(path: str) -> ClientResponse:
        body = io.BytesIO(json.dumps(shop).encode())
        return await api.post(path, data=body, headers={"Content-Type": "application/json"})

    assert [change["change"] for change in (await done(await post("/v1/declared")))["changes"]] == ["created"]
    assert "larger than 524288 octets" in await refused(await post("/v1/policies"), 400, "invalid")
    shop["documents"] *= 6
    assert "larger than 4194304 octets" in await refused(await post("/v1/declared"), 400, "invalid")
