"""A page of a canned cluster, and Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from support import pages
from support.canned_agent import CannedAgent, canned_agent


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: meanwhile an event loop runs in this thread, and tests with loops of their own have no place."""
    if not Path(pages.CHROMIUM).exists():
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=pages.CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def world() -> pages.World:
    return pages.four()


@pytest.fixture
def agent(tmp_path: Path, world: pages.World) -> Iterator[CannedAgent]:
    with canned_agent(tmp_path / "weft.sock", pages.answers(world)) as running:
        yield running
        world.restart()  # who waits is answered


@pytest.fixture
def address(agent: CannedAgent) -> Iterator[str]:
    with pages.served(agent.path) as found:
        yield found


@pytest.fixture
def said() -> list[str]:
    """What the browser complained of."""
    return []


@pytest.fixture
def page(browser: Browser, address: str, said: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    opened.goto(address)
    opened.wait_for_selector("#foot span")
    yield opened
    context.close()


@pytest.fixture
def show(page: Page, address: str) -> Callable[[str], Page]:
    """Another view."""

    def go(view: str) -> Page:
        page.goto(f"{address.partition('/enter')[0]}/#/{view}")
        return page

    return go
