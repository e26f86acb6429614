"""The agent's API as other programs meet it: over HTTP on its socket, with a description of itself, and metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.reach import NODES, client, make_network, run, weft
from support.waiting import until
from weft.api.operations import OPERATIONS
from weft.lab import Lab


@pytest.fixture(scope="module")
def blue(lab: Lab) -> None:
    make_network(lab, "blue", "vxlan", "10.1.0.0/16")
    run(lab, "node-1", "c1", "blue")


def got(lab: Lab, path: str, *options: str) -> str:
    words = ["curl", "-sS", "--unix-socket", "/run/weft/weft.sock", *options, f"http://weft{path}"]
    return lab.host("node-1").must(path, words)


def test_openapi_describes_every_operation(lab: Lab, blue: None) -> None:
    document = json.loads(got(lab, "/openapi.json"))
    assert document["openapi"].startswith("3.1")
    described = {
        (entry["operationId"], method.upper(), path)
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
    }
    assert described == {(op.name, op.method, op.path) for op in OPERATIONS}


def test_any_http_client_will_do(lab: Lab, blue: None) -> None:
    assert {node["name"] for node in json.loads(got(lab, "/v1/nodes"))} == set(NODES)
    answer = got(lab, "/v1/networks/nonet", "-w", "%{http_code}")
    assert answer.endswith("404")
    assert json.loads(answer.removesuffix("404")) == {
        "error": "not-found",
        "message": "no network nonet: `weft network ls` shows those there are",
    }
    assert got(lab, "/v1/networks", "-X", "POST", "-d", "{", "-o", "/dev/null", "-w", "%{http_code}") == "400"


def test_metrics(lab: Lab, blue: None) -> None:
    lines = [line for line in got(lab, "/metrics").splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert values["weft_nodes_alive"] == 4
    assert values["weft_endpoints"] == 1
    assert values["weft_store_connected"] == 1
    assert values["weft_attach_seconds_count"] == 1
    for state, count in (("desired", 4), ("actual", 4), ("failed", 0)):  # three VTEPs, and the container's MAC
        assert values[f'weft_objects{{kind="fdb",state="{state}"}}'] == count
    for name in ("weft_kernel_writes_total", "weft_converge_seconds_count", "weft_watch_lag_seconds_count"):
        assert values[name] > 0


def test_status_and_doctor_have_nothing_to_complain_of(lab: Lab, blue: None) -> None:
    until(lambda: client(lab, "node-1").status().state == "converged", 30, "what an attach does not wait for")
    status = client(lab, "node-1").status()
    assert (status.state, status.problems, status.troubles, status.repairs) == ("converged", (), (), 0)
    findings = {f["check"]: f for f in json.loads(weft(lab, "node-1", "doctor", "-o", "json").stdout)}
    assert [f for f in findings.values() if f["result"] == "error"] == []
    assert weft(lab, "node-1", "doctor", "--check").returncode == 0


def test_metrics_for_a_prometheus_elsewhere(lab: Lab, tmp_path: Path) -> None:
    """At an address of one's own choice."""
    config = tmp_path / "weft.toml"
    store = f"sqlite://{tmp_path}/weft.db"
    config.write_text(f'node = "outside"\nstore = "{store}"\niface = "eth0"\nmetrics = "127.0.0.1:9473"\n')
    outside = lab.host("outside")
    with outside.popen([*lab.weft, "agent", "run", "--config", str(config)]) as agent:
        try:
            words = [
                "curl",
                "-sS",
                "--retry",
                "40",
                "--retry-connrefused",
                "--retry-delay",
                "1",
                "http://127.0.0.1:9473/metrics",
            ]
            assert "weft_objects" in outside.must("metrics", words)
        finally:
            agent.terminate()
            agent.communicate(timeout=20)
