"""An archive of a host with secrets in every place that may hold one: it has none of them, and it is whole or not there."""

from __future__ import annotations

import base64
import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import msgspec
import pytest

from support.canned import ANSWERS, ENDPOINTS, NODES
from support.canned_agent import CannedAgent, canned_agent
from weft.agent.config import Config, load
from weft.api import types as t
from weft.base.errors import Conflict, Denied, Failed, Unavailable, Unsupported
from weft.client import Client
from weft.model import encode
from weft.support import archive, bundle, sources, tables
from weft.support.bundle import Made, write
from weft.support.scrub import forms
from weft.support.sources import Wanted

PLANTED = {
    "url": b'p@ss/w"ord of-etcd%',
    "password-file": "ünter-the-bridge's \\ 9".encode(),
    "mesh": base64.b64encode(b"the mesh's secret of this very cluster"),
    "wireguard": bytes(range(200, 232)),
    "bird": b"md5 of session 7",
    "tls": base64.b64encode(b"an EC key that signs what etcd is told" * 3),
    "label": b"label-says-hunter2",
    "policy": b"annotation-hunter2",
    "log": b"logged-hunter2",
    "aws": b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "xfrm": b"0x6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f7",
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    state, run = tmp_path / "state", tmp_path / "run"
    (state / "mesh").mkdir(parents=True)
    run.mkdir()
    (tmp_path / "etcd.password").write_bytes(PLANTED["password-file"] + b"\n")
    (tmp_path / "mesh.secret").write_bytes(PLANTED["mesh"] + b"\n")
    (state / "wireguard.key").write_bytes(PLANTED["wireguard"])
    pem = b"-----BEGIN EC PRIVATE KEY-----\n" + PLANTED["tls"] + b"\n-----END EC PRIVATE KEY-----\n"
    (state / "mesh" / "voter.key").write_bytes(pem)
    (run / "bird.conf").write_bytes(b'protocol bgp a {\n  password "' + PLANTED["bird"] + b'";\n}\n')
    url = f"etcds://weft:{quote(PLANTED['url'].decode(), safe='@/')}@h1:2379/weft"
    (tmp_path / "weft.toml").write_text(
        f"store = '{url}'\nmesh-secret = '{tmp_path}/mesh.secret'\nstore-password-file = '{tmp_path}/etcd.password'\n"
        f"run-dir = '{run}'\nstate-dir = '{state}'\n"
    )
    return load(tmp_path / "weft.toml", {})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [b"started", b"with OS_PASSWORD=" + PLANTED["log"], b"aws_secret_access_key = " + PLANTED["aws"]]
    lines += [b"Authorization: Bearer " + PLANTED["log"], b"aead rfc4106(gcm(aes)) " + PLANTED["xfrm"] + b" 128"]
    known = ("url", "password-file", "mesh", "wireguard", "bird", "tls")
    lines += [b"said " + form for name in known for form in forms(PLANTED[name])]
    path = tmp_path / "agent.log"
    path.write_bytes(b"\n".join(lines) + b"\nstopped\n")
    return path


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedAgent]:
    labelled = {"db.password": PLANTED["label"].decode(), "app": "web"}
    more: dict[object, object] = {
        "endpoints": (msgspec.structs.replace(ENDPOINTS[0], labels=labelled), *ENDPOINTS[1:]),
        "policy": t.PolicyDocument(
            id="namespace//shop", document={"annotations": {"x-token": PLANTED["policy"].decode()}}
        ),
        "mesh": Unsupported("the store is no mesh"),
        "nodes": tuple(msgspec.structs.replace(NODES[0], name=name) for name in ("node-1", "node-2", "node-3")),
        ("store", "node-3"): Unavailable("node-3 cannot be asked: no agent runs there"),
    }
    monkeypatch.setattr(sources, "ask", lambda *_: SimpleNamespace(body=b"weft_store_connected 1\n"))
    monkeypatch.setattr(sources, "show", lambda command, ns="": b"shown by " + command[0].encode() + b"\n")
    with canned_agent(tmp_path / "weft.sock", {**ANSWERS, **more}) as running:
        yield running


def wanted(tmp_path: Path, agent: CannedAgent, config: Config, log: Path, *, everywhere: bool = True) -> Wanted:
    return Wanted(Client(agent.socket), config, tmp_path / "weft.toml", log, everywhere)


def entries(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        found = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        assert {member.mode for member in tar.getmembers()} == {0o600}
        return {name.partition("/")[2]: file.read() for name, file in found.items() if file is not None}


def test_no_secret_is_in_it(tmp_path: Path, agent: CannedAgent, config: Config, log: Path) -> None:
    path = tmp_path / "out.tar.gz"
    made = write(path, wanted(tmp_path, agent, config, log))
    octets = gzip.decompress(path.read_bytes())
    for name, secret in PLANTED.items():
        for form in forms(secret):
            assert form not in octets and form not in path.read_bytes(), name
    found = entries(path)
    assert made.removed > 20
    assert b"started" in found["log.txt"] and b"stopped" in found["log.txt"]
    assert b"etcds://(removed)@h1:2379/weft" in found["settings/weft.toml"]
    assert f"{tmp_path}/mesh.secret".encode() in found["settings/weft.toml"]
    assert json.loads(found["cluster/endpoints.json"])[0]["labels"] == {"db.password": "(removed)", "app": "web"}


def test_what_is_in_it(tmp_path: Path, agent: CannedAgent, config: Config, log: Path) -> None:
    path = tmp_path / "out.tar.gz"
    made = write(path, wanted(tmp_path, agent, config, log))
    found = entries(path)
    manifest = msgspec.json.decode(found.pop("manifest.json"), type=Made)
    assert manifest == made and set(manifest.parts) == set(found)
    assert {name: len(data) for name, data in found.items()} == manifest.parts
    me = ANSWERS["status"].node  # type: ignore[attr-defined]
    for operation in tables.AGENT:
        assert (f"nodes/{me}/{operation}.json" in found) == (operation != "mesh")
        assert (f"nodes/node-2/{operation}.json" in found) == (operation != "mesh") or me == "node-2"
    assert {f"cluster/{operation}.json" for operation in tables.CLUSTER} <= set(found)
    missing = {each.part: each for each in made.missing}
    for name in tables.HOST:
        there = Path(tables.NEEDS.get(name, "/")).exists()
        assert (f"host/{name}.txt" in found) == there
        assert there or missing[f"host/{name}.txt"].expected
    assert missing["nodes/node-3"].why == "node-3 cannot be asked: no agent runs there"
    assert missing[f"nodes/{me}/mesh.json"].expected
    assert [asked.operation for asked in agent.asked if asked.node == "node-3"] == ["store"]


def test_no_tool_is_run_that_would_have_a_module_loaded(
    tmp_path: Path, agent: CannedAgent, config: Config, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "NEEDS", dict.fromkeys(tables.NEEDS, str(tmp_path / "none")))
    made = write(tmp_path / "out.tar.gz", wanted(tmp_path, agent, config, log, everywhere=False))
    assert {each.part for each in made.missing if "the kernel has no" in each.why} == {
        f"host/{name}.txt"
        for name in ("iptables-legacy", "ip6tables-legacy", "ipset", "ipvs", "conntrack", "wireguard")
    }


def test_only_this_host(tmp_path: Path, agent: CannedAgent, config: Config, log: Path) -> None:
    write(tmp_path / "out.tar.gz", wanted(tmp_path, agent, config, log, everywhere=False))
    assert {asked.node for asked in agent.asked} == {""}


def test_without_an_agent(tmp_path: Path, agent: CannedAgent, config: Config, log: Path) -> None:
    lonely = wanted(tmp_path, agent, config, log)._replace(client=Client(str(tmp_path / "none.sock")))
    made = write(tmp_path / "out.tar.gz", lonely)
    [why] = [each.why for each in made.missing if each.part == "agent"]
    assert "no agent answers" in why and not agent.asked
    assert json.loads(entries(tmp_path / "out.tar.gz")["host/kernel.json"])["namespaces"]


def test_who_may_read_it(tmp_path: Path, agent: CannedAgent, config: Config, log: Path) -> None:
    before = os.umask(0)
    try:
        write(tmp_path / "out.tar.gz", wanted(tmp_path, agent, config, log))
    finally:
        os.umask(before)
    assert (tmp_path / "out.tar.gz").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("link", [False, True])
def test_nothing_is_overwritten(tmp_path: Path, agent: CannedAgent, config: Config, log: Path, link: bool) -> None:
    path = tmp_path / "out.tar.gz"
    if link:
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(b"mine")
    with pytest.raises(Conflict, match=r"exists and is left as it is: name another file with -o FILE"):
        write(path, wanted(tmp_path, agent, config, log))
    assert path.is_symlink() if link else path.read_bytes() == b"mine"
    assert not agent.asked and not (tmp_path / "elsewhere").exists()


def test_one_that_comes_meanwhile_is_left_too(
    tmp_path: Path, agent: CannedAgent, config: Config, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.tar.gz"
    monkeypatch.setattr(bundle.platform, "node", lambda: path.write_bytes(b"mine") and "host")
    with pytest.raises(Conflict):
        write(path, wanted(tmp_path, agent, config, log))
    assert path.read_bytes() == b"mine" and not list(tmp_path.glob(".out*"))


def test_a_defect_leaves_nothing(
    tmp_path: Path, agent: CannedAgent, config: Config, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> Iterator[object]:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(bundle, "parts", broken)
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "out.tar.gz", wanted(tmp_path, agent, config, log))
    assert not list(tmp_path.glob("*out*"))


def test_the_disk_is_not_filled(
    tmp_path: Path, agent: CannedAgent, config: Config, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = iter([archive.SPARE + 3_000] * 4 + [archive.SPARE + 30] * 1_000)
    monkeypatch.setattr(archive, "free", lambda folder: next(room))
    made = write(tmp_path / "out.tar.gz", wanted(tmp_path, agent, config, log))
    assert any("would stay free" in each.why for each in made.missing)
    monkeypatch.setattr(archive, "free", lambda folder: archive.SPARE - 1)
    with pytest.raises(Failed, match="are free where"):
        write(tmp_path / "two.tar.gz", wanted(tmp_path, agent, config, log))
    assert not (tmp_path / "two.tar.gz").exists()


def test_what_is_too_large_is_cut_and_told(
    tmp_path: Path, agent: CannedAgent, config: Config, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST", 1_000)
    monkeypatch.setattr(archive, "MOST", 5_000)
    made = write(tmp_path / "out.tar.gz", wanted(tmp_path, agent, config, log))
    whys = [each.why for each in made.missing]
    assert any(why.startswith("cut after") for why in whys) and any("has 0 MiB already" in why for why in whys)
    found = entries(tmp_path / "out.tar.gz")
    assert msgspec.json.decode(found.pop("manifest.json"), type=Made).parts == {
        n: len(data) for n, data in found.items()
    }
    assert all(len(data) <= 1_000 for data in found.values()) and sum(map(len, found.values())) <= 5_000


def test_where_it_may_not_be_written(tmp_path: Path, agent: CannedAgent, config: Config, log: Path) -> None:
    with pytest.raises((Failed, Denied), match="cannot be written: No such file or directory: name another place"):
        write(tmp_path / "none" / "out.tar.gz", wanted(tmp_path, agent, config, log))


def test_the_end_of_a_long_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(1_000)))
    monkeypatch.setattr(sources, "LARGEST", 100)
    tail = sources._tail(path)
    assert tail.endswith(b"line 999\n") and tail.startswith(b"line ") and len(tail) <= 100
    assert encode(Made("", "", "", "", {}, (), 0))
