"""Whose a process is, by its control group and by what engines keep."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

from weft.inspect import engines, processes
from weft.inspect.model import Container
from weft.inspect.processes import View

A, B = "a1" * 32, "b2" * 32


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"0::/system.slice/docker-{A}.scope", ("docker", A)),
        (f"12:pids:/docker/{A}", ("docker", A)),
        (f"0::/system.slice/docker-{A}.scope/init.scope", ("docker", A)),
        (f"0::/docker/{A}/docker/{B}", ("docker", B)),  # Docker in Docker: the inner one
        (f"0::/machine.slice/libpod-{A}.scope/container", ("podman", A)),
        (f"0::/libpod_parent/libpod-{A}", ("podman", A)),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope", ("podman", A)),
        (
            f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-podx.slice/cri-containerd-{A}.scope",
            ("kubernetes", A),
        ),
        (f"0::/kubepods/besteffort/pod0b2d0e32/{A}", ("kubernetes", A)),
        (f"0::/kubepods.slice/crio-{A}.scope", ("kubernetes", A)),
        (f"0::/system.slice/nerdctl-{A}.scope", ("containerd", A)),
        (f"0::/some/where/{A}", ("", A)),
        (f"0::/machine.slice/libpod-conmon-{A}.scope", None),  # beside the container
        ("0::/system.slice/ssh.service", None),
        (f"0::/x/{A}0", None),
        ("0::/", None),
        ("", None),
    ],
)
def test_a_control_group_tells_engine_and_id(line: str, found: tuple[str, str] | None) -> None:
    assert engines.of_cgroup(f"{line}\n") == found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root directory of another mount namespace."""
    monkeypatch.setattr(View, "path", lambda _self, path: f"{tmp_path}{path}")
    return tmp_path


def known(*, trusted: bool = True) -> engines.Known:
    return engines.known([View(77, trusted=trusted)])


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def tasks(root: Path) -> Path:
    folder = root / "run/containerd/io.containerd.runtime.v2.task"
    notes = {
        "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-name": "web-0",
        "io.kubernetes.cri.container-name": "nginx",
    }
    for path, pid, noted in (
        ("moby/" + A, "11", {}),
        ("k8s.io/" + B, "12\n", notes),
        ("default/db", "13", {}),
        ("default/odd", "", {}),
    ):
        put(folder / path / "init.pid", pid)
        put(folder / path / "config.json", {"ociVersion": "1.0.2", "annotations": noted})
    put(folder / "default/broken/config.json", "{")
    return folder


def test_directories_of_containerd_s_tasks(tasks: Path) -> None:
    found = known()
    assert found.pids == {A: 11, B: 12, "db": 13}
    assert found.container(A) == Container(engine="docker", id=A)
    assert found.container(B) == Container(engine="kubernetes", id=B, name="shop/web-0/nginx")
    assert found.container("db") == Container(engine="containerd", id="db", name="db")
    assert found.container("broken") == Container(engine="containerd", id="broken", name="broken")


def test_what_a_container_says_of_itself_is_not_believed(tasks: Path) -> None:
    assert known(trusted=False) == engines.Known()


def test_a_file_that_would_block_or_is_none_is_as_good_as_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (str(tmp_path / "fifo"), str(tmp_path), str(tmp_path / "missing"), "a\0b"):
        assert processes.read(path) == b""


def test_podman_and_crio_by_their_storage(root: Path) -> None:
    listed = [{"id": A, "names": ["web"], "layer": "x"}, {"id": B, "names": ["k8s_nginx_web-0"]}, {"id": "c3" * 32}]
    put(root / "var/lib/containers/storage/vfs-containers/containers.json", listed)
    put(root / "run/containers/storage/vfs-containers" / A / "userdata/pidfile", "21")
    found = known()
    assert found.container(A) == Container(engine="podman", id=A, name="web")
    assert found.container(B).engine == "kubernetes"
    assert found.container("c3" * 32) == Container(engine="podman", id="c3" * 32)
    assert found.pids == {A: 21}


class Answers(BaseHTTPRequestHandler):
    body: bytes = json.dumps([{"Id": A, "Names": ["/client/alias", "/web"], "State": "running"}]).encode()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def docker(root: Path) -> Iterator[type[Answers]]:
    class Own(Answers):
        pass

    (root / "run").mkdir()
    with UnixStreamServer(str(root / "run/docker.sock"), Own) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Own
        server.shutdown()
        thread.join()


def test_docker_by_its_socket(docker: type[Answers]) -> None:
    assert known().container(A) == Container(engine="docker", id=A, name="web")


@pytest.mark.parametrize("body", [b"", b"{", b"null", b'[{"Names": 3}]'])
def test_an_answer_that_is_none_is_passed_over(docker: type[Answers], body: bytes) -> None:
    docker.body = body
    assert known() == engines.Known()


def test_a_docker_that_is_silent_costs_half_a_second(root: Path) -> None:
    (root / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(root / "run/docker.sock"))
        silent.listen()
        began = time.monotonic()
        assert known() == engines.Known()
        assert 0.3 < time.monotonic() - began < 5
