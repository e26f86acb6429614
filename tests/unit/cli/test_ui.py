"""`weft ui` as a process: it prints its address, serves there, and ends with the command."""

from __future__ import annotations

import http.client
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support import pages
from support.canned_agent import CannedAgent, canned_agent
from support.labs import WEFT
from support.waiting import until


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[CannedAgent]:
    with canned_agent(tmp_path / "weft.sock", pages.answers(pages.empty())) as running:
        yield running


@contextmanager
def run(agent: CannedAgent, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*WEFT, "--socket", agent.socket, "ui", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_ended(agent: CannedAgent, number: signal.Signals) -> None:
    with run(agent) as process:
        assert process.stdout is not None and process.stderr is not None
        found = urlsplit(process.stdout.readline().strip())
        assert (found.hostname, found.path) == ("127.0.0.1", "/enter") and found.query.startswith("token=")
        connection = http.client.HTTPConnection("127.0.0.1", found.port or 0, timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().status == 401
        connection.close()
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stdout.read() == "" and process.stderr.read() == ""


def test_the_browser_is_given_a_file_that_only_its_user_can_read(agent: CannedAgent, tmp_path: Path) -> None:
    """Command lines, with what a browser is to open, can be read by everybody."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.new && mv {opened}.new {opened}\n')
    browser.chmod(0o755)
    with run(agent, "--open", BROWSER=str(browser), TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        until(opened.exists, 30, "a browser")
        path = Path(urlsplit(opened.read_text().strip()).path)
        assert address.partition("token=")[2] not in opened.read_text()
        assert address in path.read_text()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        process.terminate()
        assert process.wait(30) == 0
        assert not path.exists()


def test_a_port_that_is_taken_is_refused(agent: CannedAgent) -> None:
    with run(agent) as first:
        assert first.stdout is not None
        port = urlsplit(first.stdout.readline().strip()).port
        with run(agent, "--port", str(port)) as second:
            out, error = second.communicate(timeout=30)
        assert (second.returncode, out) == (1, "")
        assert error == f"weft: cannot listen at 127.0.0.1:{port}: Address already in use: give another --port\n"


def test_without_an_agent_it_says_so_before_a_browser_has_to(agent: CannedAgent) -> None:
    agent.path.unlink()
    with run(agent) as process:
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "") and error.startswith("weft: no agent answers at")
