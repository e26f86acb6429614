"""Labs under test: the front end as a process, a stand-in for the agent, and what is left of a lab."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from weft.lab.inside import ENVIRONMENT

_CLI = "import sys; from weft.cli import main; sys.exit(main())"
WEFT = (sys.executable, "-c", _CLI)

FAKE_AGENT = """
import http.server, os, socketserver, sys
path = "/run/weft/weft.sock"
if os.path.exists(path):
    os.unlink(path)
print("agent", *sys.argv[1:], flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1/status" else 404)
        self.end_headers()

    def address_string(self):
        return "local"

socketserver.UnixStreamServer(path, Handler).serve_forever()
"""


def fake_agent(host: str, url: str) -> Sequence[str]:
    return [sys.executable, "-c", FAKE_AGENT, host, url]


def weft(*words: str, python: Sequence[str] = WEFT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*python, *words], capture_output=True, text=True, timeout=60, check=False)


def processes_of(directory: Path) -> list[int]:
    """Everything that was started in the lab kept there."""
    mark = f"{ENVIRONMENT}={directory}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether it comes true within this time."""
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        never.wait(0.02)
    return True
