from __future__ import annotations

import inspect
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

from support.canned import ANSWERS, ENDPOINTS, NAMESPACE, NETWORKS
from support.canned_agent import Asked, CannedAgent, Hangs, Raw, canned_agent
from weft.api import checks as c
from weft.api import declared as d
from weft.api import live
from weft.api import services as s
from weft.api import types as t
from weft.api.operations import OPERATIONS
from weft.base import errors
from weft.client import Client
from weft.client.connection import ask
from weft.model import BgpPeer, Network, decode


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[CannedAgent]:
    with canned_agent(tmp_path / "weft.sock", ANSWERS) as running:
        yield running


@pytest.fixture
def client(agent: CannedAgent) -> Client:
    return Client(agent.socket, timeout=5)


NETWORK = Network(name="blue", driver="vxlan", subnets=(ip_network("40.15.0.0/16"),), options={"vni": 7})
ATTACH = t.Attach(target="4711", network="blue", addresses=(ip_address("40.15.43.2"),), labels={"a": "b"})

PEER = BgpPeer(name="tor", address=ip_address("192.168.1.1"), asn=65001, password="secret")

ARGUMENTS: dict[str, tuple[object, ...]] = {
    "node": ("node-1",),
    "remove_node": ("node-1",),
    "network": ("blue",),
    "remove_network": ("blue",),
    "create_network": (NETWORK,),
    "endpoint": ("web",),
    "attach": (ATTACH,),
    "expose": ("office", t.Expose(addresses=(ip_address("172.111.222.20"),))),
    "hide": ("office",),
    "label": ("web", t.Label(labels={"a": "b"}, remove=("c",))),
    "detach": ("4711",),
    "check": ("cni/blue/c1/eth0",),
    "publish": (t.Publish(owner="docker/n/e"),),
    "reserve": ("blue", t.Reserve(family=4, owner="docker/")),
    "bgp_sessions": (),
    "bgp_routes": ("197.19.26.7",),
    "set_bgp": (t.SetBgp(hold_time=9),),
    "add_bgp_peer": (PEER,),
    "remove_bgp_peer": ("tor",),
    "pools": ("prod",),
    "add_pool": ("prod", t.AddPool(subnet=ip_network("10.8.0.0/16"))),
    "set_network": ("blue", t.SetNetwork(mtu=1400, options={"dns": "off"})),
    "set_pool": ("prod", t.SetPool(subnet=ip_network("10.8.0.0/16"), disabled=True)),
    "remove_pool": ("prod", "10.8.0.0/16"),
    "check_ipam": (t.CheckIpam(fix=True),),
    "move": ("web", t.Move(target="web-2")),
    "add_floating": ("web", t.Float(addresses=(ip_address("203.0.113.7"),))),
    "remove_floating": ("web", "203.0.113.7,2001:db8:f::7"),
    "policy": ("namespace//shop",),
    "explain": ("client", "web", "tcp", "80"),
    "apply_policies": (t.ApplyPolicies(documents=(t.PolicySource(place="f.yaml", document=NAMESPACE),)),),
    "apply": (d.Apply(documents=(t.PolicySource(place="f.yaml", document=NAMESPACE),), prune={"app": "shop"}),),
    "declared": ("network,service/blue/web", "blue", "app=shop"),
    "remove_policies": (t.RemovePolicies(refs=("namespace/shop",)),),
    "service": ("web",),
    "create_service": (s.CreateService(name="web", network="blue", select="app=web"),),
    "set_service": ("web", s.SetService(drain=5)),
    "remove_service": ("blue/web",),
    "drain": ("web", s.Drain(member="web-1")),
    "report_health": ("web", s.ReportHealth(member="web-1", ready=True)),
    "place_probes": (c.PlaceProbes(run="0badcafe", seconds=60),),
    "run_tests": ("0badcafe", c.RunTests(probe="", tests=())),
    "remove_probes": ("0badcafe",),
    "release": ("blue", "40.15.43.9", "docker/"),
    "start_watch": (live.WatchRequest(token="5e0d7a1c5e0d7a1c", namespaces=("/run/netns/web",)),),
    "watched": ("5e0d7a1c",),
    "end_watch": ("5e0d7a1c",),
    "send_probe": (live.ProbeRequest(token="5e0d7a1c5e0d7a1c", target="10.32.0.8"),),
}


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
class TestEveryOperation:
    def test_is_a_method_that_returns_the_reply(self, op, client: Client, agent: CannedAgent) -> None:
        reply = getattr(client, op.name)(*ARGUMENTS.get(op.name, ()))
        assert reply == ANSWERS[op.name]
        assert [asked.operation for asked in agent.asked] == [op.name]

    def test_is_typed_as_in_the_table(self, op) -> None:
        assert get_type_hints(getattr(Client, op.name))["return"] == op.reply

    def test_takes_every_parameter(self, op) -> None:
        takes = set(inspect.signature(getattr(Client, op.name)).parameters)
        assert takes >= set(op.query)


def test_request_bodies_are_the_api_types(client: Client, agent: CannedAgent) -> None:
    client.create_network(NETWORK)
    client.attach(ATTACH)
    assert decode(t.CreateNetwork, agent.asked[0].body).network == NETWORK
    assert decode(t.Attach, agent.asked[1].body) == ATTACH


def test_parameters_are_quoted(client: Client, agent: CannedAgent) -> None:
    client.endpoint("a/b c?d=e&f%")
    client.endpoints(network="x&node=y", node="ü")
    client.detach("/run/netns/a b+c", "blue")
    assert agent.asked == [
        Asked("endpoint", {"ref": "a/b c?d=e&f%"}, b""),
        Asked("endpoints", {"network": "x&node=y", "node": "ü"}, b""),
        Asked("detach", {"target": "/run/netns/a b+c", "network": "blue"}, b""),
    ]


def test_what_is_not_given_is_not_sent(client: Client, agent: CannedAgent) -> None:
    client.plan()
    client.endpoints(node="node-1")
    client.remove_network("blue")
    client.remove_network("blue", force=True)
    assert [asked.params for asked in agent.asked] == [
        {},
        {"node": "node-1"},
        {"name": "blue"},
        {"name": "blue", "force": "true"},
    ]


def test_an_empty_name_is_refused_before_anything_is_asked(client: Client, agent: CannedAgent) -> None:
    for refused in (client.policy, client.network, client.endpoint):
        with pytest.raises(errors.Invalid, match=r"^'' is not a name: say which one is meant$"):
            refused("")
    assert agent.asked == []


def test_a_client_of_another_node_asks_for_it(client: Client, agent: CannedAgent) -> None:
    client.at("node-2", patience=30).plan("blue")
    client.plan()
    assert agent.asked == [Asked("plan", {"network": "blue"}, b"", "node-2"), Asked("plan", {}, b"")]
    assert client.at("node-2", patience=30).timeout == 35 and client.timeout == 5
    for name in ("", "Node-2", "a/b"):
        with pytest.raises(errors.Invalid, match="is not a node name"):
            client.at(name)


@pytest.mark.parametrize("cls", errors.ERRORS.values(), ids=lambda cls: cls.code)
def test_an_error_is_raised_as_the_class_the_agent_raised(cls, client: Client, agent: CannedAgent) -> None:
    agent.answers["network"] = cls("no network 'red': there are blue, green")
    with pytest.raises(errors.WeftError) as caught:
        client.network("red")
    assert type(caught.value) is cls
    assert str(caught.value) == "no network 'red': there are blue, green"


def test_an_unknown_error_of_a_newer_agent_is_still_an_error(client: Client, agent: CannedAgent) -> None:
    agent.answers["status"] = Raw(418, b'{"error": "teapot", "message": "short and stout", "more": 1}')
    with pytest.raises(errors.WeftError, match="short and stout"):
        client.status()


@pytest.mark.parametrize(
    "raw", [Raw(404, b"<html>Not Found"), Raw(200, b"<html>"), Raw(200, b'{"version": 7}'), Raw(200, b"")], ids=repr
)
def test_something_else_behind_the_socket(raw: Raw, client: Client, agent: CannedAgent) -> None:
    agent.answers["status"] = raw
    with pytest.raises(errors.Failed, match="is it a Weft agent of the same version"):
        client.status()


def test_a_newer_agent_may_say_more(client: Client, agent: CannedAgent) -> None:
    more = msgspec.json.decode(msgspec.json.encode({"what": ["web"], "later": {"x": 1}}))
    agent.answers["detach"] = Raw(200, msgspec.json.encode(more))
    assert client.detach("web") == t.Done(what=("web",))


class TestNobodyAnswers:
    def test_no_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "weft.sock"
        with pytest.raises(errors.Unavailable) as caught:
            Client(str(path)).status()
        assert str(caught.value) == f"no agent answers at {path}: start it with `weft agent run`, or give --socket"

    def test_socket_of_a_dead_agent(self, tmp_path: Path) -> None:
        path = tmp_path / "weft.sock"
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(str(path))
        with pytest.raises(errors.Unavailable, match="no agent answers at"):
            Client(str(path)).status()

    def test_not_allowed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: object, path: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("socket.socket.connect", refuse)  # root may open any socket
        with pytest.raises(errors.Denied, match="use sudo, or join the group that owns it"):
            Client(str(tmp_path / "weft.sock")).status()

    def test_no_answer_in_time(self, agent: CannedAgent) -> None:
        agent.answers["status"] = Hangs()
        with pytest.raises(errors.Unavailable, match=r"has not answered for 0\.1 s"):
            Client(agent.socket, timeout=0.1).status()

    def test_breaks_off(self, client: Client, agent: CannedAgent) -> None:
        del agent.answers["status"]  # its handler fails and closes the connection
        with pytest.raises(errors.Failed, match="broke off"):
            client.status()

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (b"", "before it had answered"),
            (b"HTTP/1.0 200 OK\r\nContent-", "in the head of its answer"),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{}", "after 2 of 9 octets"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "speaks no HTTP/1.0"),
            (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "speaks no HTTP/1.0: 'SSH-2.0-OpenSSH_9.2'"),
            (b"HTTP/1.0 200 OK\r\nContent-Length: ten\r\n\r\n", "broke off"),
            (b"x" * 70_000, "too long"),
        ],
    )
    def test_what_is_no_answer(self, reply: bytes, reason: str, tmp_path: Path) -> None:
        with answering(tmp_path / "s", reply), pytest.raises(errors.Failed, match=re.escape(reason)):
            ask(str(tmp_path / "s"), 5, "GET", "/", None)

    @pytest.mark.parametrize("length", ["Content-Length: 2\r\n", ""])
    def test_an_answer(self, length: str, tmp_path: Path) -> None:
        reply = f"HTTP/1.1 404 Not Found\r\nX-Odd:  a: b \r\n{length}\r\n{{}}".encode()
        with answering(tmp_path / "s", reply):
            found = ask(str(tmp_path / "s"), 5, "GET", "/", None)
        assert (found.status, found.body, found.headers["x-odd"]) == (404, b"{}", "a: b")

    def test_path_too_long_for_a_socket(self) -> None:
        with pytest.raises(errors.Invalid, match="107 octets"):
            Client("/run/" + "x" * 120).status()


@contextmanager
def answering(path: Path, reply: bytes) -> Iterator[None]:
    """A peer that says this to whoever comes first, and closes."""

    def serve() -> None:
        peer, _ = listening.accept()
        with peer:
            peer.recv(65_536)
            peer.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_it_is_cheap_to_import() -> None:
    heavy = (
        "http.client",
        "ssl",
        "hashlib",
        "email",
        "aiohttp",
        "asyncio",
        "grpc",
        "rich",
        "typer",
        "yaml",
        "weft.kernel",
        "weft.agent",
    )
    code = f"import sys, weft.client; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_canned_answers_are_what_the_table_says() -> None:
    assert set(ANSWERS) == {op.name for op in OPERATIONS}
    assert NETWORKS and ENDPOINTS
