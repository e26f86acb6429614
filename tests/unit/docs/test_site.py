"""The site as a reader's browser has it: opened as files, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from support import pages

WIDE, PHONE = {"width": 1360, "height": 900}, {"width": 390, "height": 844}
SHOWN = ["index.html", "troubleshooting.html", "reference/commands/network.html", "reference/api/networks.html"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(pages.CHROMIUM).exists():
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=pages.CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Reader:
    """One who opens pages of the site. `said`: what the browser complained of; `asked`: what it wanted from elsewhere."""

    def __init__(self, context: BrowserContext, site: Path) -> None:
        self._site = site
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda m: self.said.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith((f"file://{self._site}/", "data:", "blob:")):
            self.asked.append(url)

    def open(self, path: str) -> Page:
        self.page.goto(f"file://{self._site}/{path}")
        self.page.wait_for_load_state("load")
        return self.page


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def reader(request: pytest.FixtureRequest, browser: Browser, scheme: str, site: Path) -> Iterator[Reader]:
    context = browser.new_context(viewport=request.param, color_scheme=scheme)  # type: ignore[arg-type]  # a literal
    yield Reader(context, site)
    context.close()


def test_pages_are_shown_without_a_complaint_and_without_asking_anybody(reader: Reader, scheme: str) -> None:
    for path in SHOWN:
        page = reader.open(path)
        expect(page.locator("article h1")).to_be_visible()
        assert page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{path} is wider than the window"
    assert (reader.said, reader.asked) == ([], [])


def test_pictures_are_there(browser: Browser, site: Path) -> None:
    page = Reader(browser.new_context(viewport=WIDE), site).open("index.html")
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)") == []
    page.context.close()


def test_what_is_searched_for_is_found_without_a_server(browser: Browser, site: Path) -> None:
    reader = Reader(browser.new_context(viewport=WIDE), site)
    page = reader.open("index.html")
    page.locator("[data-md-component=search-query]").click()
    page.keyboard.type("weft_repairs_total")
    expect(page.locator(".md-search-result__item").first).to_contain_text("Metrics", timeout=20_000)
    assert (reader.said, reader.asked) == ([], [])
    page.context.close()


def test_the_button_at_a_session_copies_what_is_typed_and_no_more(browser: Browser, site: Path) -> None:
    context = browser.new_context(viewport=WIDE)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = Reader(context, site).open("tutorial.html")
    block = page.locator(".highlight", has_text="ip netns add web").first
    assert block.locator(".gp").first.inner_text() == "node-1# "
    block.hover()
    block.locator(".md-code__button, .md-clipboard").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines()[:2] == ["ip netns add web", "weft attach web --network blue --label app=web --dns"]
    assert "attached" not in copied
    context.close()
