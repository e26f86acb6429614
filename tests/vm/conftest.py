"""Tests in here run in a virtual machine with Debian's own kernel: it has modules that a development machine may lack."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import guest
from support.namespaces import Home, home

_HERE = Path(__file__).parent
_results: pytest.StashKey[tuple[dict[str, list[dict[str, Any]]], str]] = pytest.StashKey()


@pytest.fixture(scope="session")
def modules() -> None:
    """Those of nftables are loaded before anybody waits for nft: with a processor that is emulated, and the machine's disk at
    the other end of a socket, that alone may take longer than nft is given."""
    rules = "nf_tables", "nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6", "nft_ct", "nft_chain_nat", "nft_masq"
    subprocess.run(["modprobe", "--quiet", "--all", *rules], check=False, timeout=100)


@pytest.fixture
def netns(modules: None) -> Iterator[Home]:
    with home() as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not guest.inside():
        for item in _ours(items):
            item.add_marker(pytest.mark.timeout(0))  # the first waits for all; the machine has a limit of its own


def _ours(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if item.path.is_relative_to(_HERE)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Outside, tell what became of it inside."""
    if guest.inside():
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _told(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _told(item: pytest.Item) -> list[pytest.TestReport]:
    if why := guest.missing():
        return [_report(item, "skipped", (str(item.path), 0, f"Skipped: {why}"))]
    stash = item.session.stash
    if _results not in stash:
        stash[_results] = _booted(_ours(item.session.items))
    reports, printed = stash[_results]
    read = item.config.hook.pytest_report_from_serializable
    found = [_as_written(read(config=item.config, data=data)) for data in reports.get(item.nodeid, ())]
    return found or [_report(item, "failed", f"it did not run in the virtual machine, which printed:\n{printed}")]


def _as_written(report: pytest.TestReport) -> pytest.TestReport:
    """Why a test was skipped is a tuple, which comes back from JSON as a list; pytest's summary takes no list."""
    if isinstance(report.longrepr, list):
        report.longrepr = tuple(report.longrepr)
    return report


def _booted(items: list[pytest.Item]) -> tuple[dict[str, list[dict[str, Any]]], str]:
    try:
        return guest.run([item.nodeid for item in items], sum(map(_seconds, items)))
    except subprocess.TimeoutExpired as late:
        return {}, f"{late}\n{late.stdout or ''}"


def _seconds(item: pytest.Item) -> float:
    """That it may take there."""
    return max((mark.args[0] for mark in item.iter_markers("timeout")), default=0) or guest.EACH


def _report(item: pytest.Item, outcome: Any, why: Any) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, {}, outcome, why, "setup")
