"""Plugin and agent killed in the middle: DEL, or GC, leaves nothing. And a hundred at once."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cni import HOST, Engine, Object, Ran, config
from support.waiting import until

ATTACHMENTS = "cni.dev/valid-attachments"
NAMES = [f"k{number}" for number in range(8)]


def end_with_del(engine: Engine) -> None:
    for name in NAMES:
        engine("DEL", name=name).well()


def end_with_gc(engine: Engine) -> None:
    engine("GC", config(**{ATTACHMENTS: []})).well()


ENDS = pytest.mark.parametrize("end", [end_with_del, end_with_gc])


@pytest.fixture(autouse=True)
def containers(engine: Engine, nothing_stays: None) -> None:
    engine.sh(" && ".join(f"ip netns add {name}" for name in NAMES))


def nothing_left(engine: Engine) -> str:
    left = [e.owner for e in engine.endpoints()], engine.veths(), [n for n in NAMES if engine.links(n)]
    ports = [line for line in engine.sh("nft list table inet weft").splitlines() if "tcp . 808" in line]
    return "" if (*left, ports) == ([], set(), [], []) else str((*left, ports))


def wish(name: str) -> Object:
    """With a published port."""
    port = 8080 + NAMES.index(name)
    return config(runtimeConfig={"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]})


def wait(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=30)
    return Ran(process.returncode, out, err)


@ENDS
def test_plugin_killed(engine: Engine, end: Callable[[Engine], None]) -> None:
    chance, pause = random.Random(7), threading.Event()
    for name in NAMES:
        process = engine.start("ADD", wish(name), name)
        pause.wait(chance.uniform(0.0, 0.06))
        process.send_signal(signal.SIGKILL)
        wait(process)
    end(engine)
    if end is end_with_gc:
        # GC comes when no ADD is under way (3, Lifecycle), and the agent may be at one whose plugin is gone.
        until(lambda: end(engine) or not nothing_left(engine), 5, lambda: nothing_left(engine))
    assert not nothing_left(engine)


@ENDS
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15])
def test_agent_killed(engine: Engine, end: Callable[[Engine], None], delay: float) -> None:
    agent = engine.lab.agent(HOST)
    processes = [engine.start("ADD", wish(name), name) for name in NAMES]
    threading.Event().wait(delay)
    agent.end(signal.SIGKILL)
    for ran in map(wait, processes):
        assert ran.status == 0 or ran.code == 11
    back(engine)
    end(engine)
    assert not nothing_left(engine)


def back(engine: Engine) -> None:
    agent = engine.lab.agent(HOST)
    agent.start()
    agent.wait_ready()
    until(lambda: engine("STATUS").status == 0, 20, "the agent")


@ENDS
def test_plugin_killed_in_del(engine: Engine, end: Callable[[Engine], None]) -> None:
    for name in NAMES:
        engine("ADD", wish(name), name=name).well()
    chance, pause = random.Random(8), threading.Event()
    for name in NAMES:
        process = engine.start("DEL", wish(name), name)
        pause.wait(chance.uniform(0.0, 0.06))
        process.send_signal(signal.SIGKILL)
        wait(process)
    end(engine)
    assert not nothing_left(engine)


@ENDS
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15])
def test_agent_killed_in_del(engine: Engine, end: Callable[[Engine], None], delay: float) -> None:
    """Who was told success has nothing left, also before anybody asks again."""
    for name in NAMES:
        engine("ADD", wish(name), name=name).well()
    processes = {name: engine.start("DEL", wish(name), name) for name in NAMES}
    threading.Event().wait(delay)
    engine.lab.agent(HOST).end(signal.SIGKILL)
    done = [name for name, process in processes.items() if (ran := wait(process)).status == 0 or ran.code != 11]
    assert {e for e in done if engine.links(e)} == set()
    back(engine)
    assert not {e.owner for e in engine.endpoints()} & {f"cni/net/{name}/eth0" for name in done}
    end(engine)
    assert not nothing_left(engine)


def test_agent_down(engine: Engine) -> None:
    """Error 11: "Try again later", with the reason; STATUS 50. A DEL that cannot be carried out says so: nothing leaks
    silently."""
    out = engine("ADD", name="k0").well().out
    agent = engine.lab.agent(HOST)
    agent.end(signal.SIGTERM)
    previous = config(prevResult=out)
    answers = {command: engine(command, previous, name="k0") for command in ("ADD", "DEL", "CHECK", "STATUS")}
    collected = engine("GC", config(**{ATTACHMENTS: []}))
    agent.start()
    agent.wait_ready()
    assert {command: ran.code for command, ran in answers.items()} == {"ADD": 11, "DEL": 11, "CHECK": 11, "STATUS": 50}
    assert collected.code == 11
    assert "no agent answers at /run/weft/weft.sock" in answers["ADD"].msg
    until(lambda: engine("DEL", name="k0").status == 0, 10, "DEL, tried again")
    assert not nothing_left(engine)


def test_nobody_reads_the_result(engine: Engine) -> None:
    """What nobody learns of is taken back."""
    line = " ".join(f"'{word}'" for word in engine.command("ADD", "k0"))
    done = engine.sh(
        f"{{ {line}; echo $? >/run/status; }} <<<'{json.dumps(config())}' | true; sleep 1; cat /run/status"
    )
    assert done.strip() == "1"
    assert not nothing_left(engine)


@pytest.mark.timeout(90)
def test_a_hundred_at_once(engine: Engine, tmp_path: Path) -> None:
    """3, Lifecycle: "Plugins must handle being executed concurrently across different containers"."""
    (tmp_path / "config").write_text(json.dumps(config()))
    names = [f"m{number}" for number in range(100)]
    engine.sh(f"for n in {' '.join(names)}; do echo netns add $n; done | ip -batch -")
    run = (
        f"cd {tmp_path}; for n in {' '.join(names)}; do env -i CNI_COMMAND=$0 CNI_CONTAINERID=$n CNI_IFNAME=eth0 "
        f"CNI_NETNS=/run/netns/$n {engine.executable} <config >$0.$n & done; wait"
    )
    engine.sh(run.replace("$0", "ADD"))
    results = [json.loads((tmp_path / f"ADD.{name}").read_text()) for name in names]
    for position in (0, 1):
        addresses = {result["ips"][position]["address"] for result in results}
        assert len(addresses) == 100
    for name, result in zip(names, results, strict=True):
        assert engine.addresses(name) == {ip["address"] for ip in result["ips"]}
    engine.sh(run.replace("$0", "DEL"))
    assert [(tmp_path / f"DEL.{name}").read_text() for name in names] == [""] * 100
    assert {link for name in names for link in engine.links(name)} == set()
    assert not nothing_left(engine)
