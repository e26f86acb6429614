"""A real neutron-server on loopback, for tests: its own code on SQLite, without agents and without a message queue.

It lives in an environment of its own (.venv-neutron, made by `./dev setup test`). Ports of the hosts in `HOSTS` are bound, and
become ACTIVE at once, by a mechanism driver of a few lines (`neutron_serve.py`), since no agent can join. A host whose name
begins with "slow" never reports a port; one that begins with "hybrid" wants the hybrid bridge; all others have no agent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from support.etcd import free_ports

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-neutron" / "bin" / "python"
SERVE = Path(__file__).with_name("neutron_serve.py")
HOSTS = ("node-1", "node-2", "node-3", "node-4", "slow-1", "hybrid-1")
READY_TIMEOUT = 60.0
"""Seconds; it takes about five on an idle machine."""
TENANT = "fake_project_id"
"""Whose everything is that is asked for without authentication."""


class NeutronServer:
    """One server; its files under `directory`. Ended by its pid, or by the kernel if the tests die first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it serves. What an earlier start had made is there again."""
        if not PYTHON.exists():
            raise RuntimeError(f"{PYTHON} is missing: ./dev setup test")
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [str(PYTHON), str(SERVE), str(self._directory), str(self.port), ",".join(HOSTS)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._directory), "PYTHONDONTWRITEBYTECODE": "1"}
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=self._directory
            )
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while True:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"neutron-server does not serve: {self.log()[-2000:]}")
            with contextlib.suppress(OSError):
                self.ask("GET", "/v2.0/extensions/router")
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        """Harmless if it has stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def clouds(self, directory: Path) -> Path:
        """A clouds.yaml whose cloud `devstack` is this server, and `nowhere` one that does not answer."""
        path = directory / "clouds.yaml"
        (closed,) = free_ports(1)
        clouds = {
            name: {"auth_type": "none", "network_endpoint_override": url}
            for name, url in (("devstack", self.url), ("nowhere", f"http://127.0.0.1:{closed}"))
        }
        path.write_text(json.dumps({"clouds": clouds}))
        return path

    # What another user of the cloud does.

    def ask(self, method: str, path: str, body: object = None, project: str = "") -> Any:
        """JSON; None where there is none. `project`: another tenant's. Raises urllib.error.HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if project:
            headers |= {"X-Project-Id": project, "X-Roles": "member,reader"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def list(self, what: str, **query: str) -> list[dict[str, Any]]:
        """Such as `list("ports", network_id=…)`."""
        path = "&".join(f"{key}={value}" for key, value in query.items())
        return list(self.ask("GET", f"/v2.0/{what}?{path}")[what.replace("-", "_")])

    def make(self, what: str, **values: object) -> dict[str, Any]:
        """Such as `make("network", name="x")`."""
        return dict(self.ask("POST", f"/v2.0/{what.replace('_', '-')}s", {what: values})[what])

    def delete(self, what: str, id: str) -> None:
        with contextlib.suppress(urllib.error.HTTPError):
            self.ask("DELETE", f"/v2.0/{what.replace('_', '-')}s/{id}")
