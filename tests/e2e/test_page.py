"""The page of a lab's real agents: it shows what happens while it is open, and any packet's way."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from support import pages
from support.reach import Container, converged, make_network, run, run_everywhere
from weft.lab import Lab

pytestmark = pytest.mark.parametrize("lab", ["etcd"], indirect=True, scope="module")

PATIENCE = 60_000
"""Milliseconds for what agents take their time for: the end of a presence, for example."""


@pytest.fixture(scope="module")
def containers(lab: Lab) -> list[Container]:
    make_network(lab, "over", "vxlan", "10.1.0.0/16")
    make_network(lab, "prod", "routed", "10.2.0.0/16")
    return run_everywhere(lab, "over")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=pages.CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, lab: Lab, containers: list[Container]) -> Iterator[Page]:
    with pages.served(lab.host("node-1").socket) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE)
        opened.goto(address)
        opened.wait_for_selector("#foot span")
        opened.evaluate("window.kept = true")
        yield opened
        assert opened.evaluate("window.kept"), "it was loaded again"
        context.close()


def host(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.locator(f"li.host[data-key={name}]")


def test_the_cluster_as_it_is_and_as_it_becomes(page: Page, lab: Lab) -> None:
    expect(page.locator(".segment")).to_have_count(2)
    expect(page.locator("li.host")).to_have_count(4)
    expect(host(page, "node-3").locator(".names a")).to_have_text(["over-3"])
    expect(host(page, "node-2").locator(".shares")).to_have_text("BGP up", timeout=PATIENCE)
    expect(host(page, "node-1").locator(".traffic")).to_contain_text("bit/s", timeout=PATIENCE)
    run(lab, "node-4", "late", "over")
    expect(host(page, "node-4").locator(".names a")).to_have_text(["late", "over-4"], timeout=PATIENCE)
    lab.rm("node-4", "late")
    expect(host(page, "node-4").locator(".names a")).to_have_text(["over-4"], timeout=PATIENCE)


def test_an_endpoint_with_its_counters(page: Page, lab: Lab, containers: list[Container]) -> None:
    page.get_by_role("link", name="over-1").click()
    for text in (str(containers[0].endpoint.mac), containers[0].address(4), "1450"):
        expect(page.locator("main")).to_contain_text(text)
    expect(page.locator("main dt", has_text="To it")).to_be_visible()
    containers[0].inside.run(["ping", "-c", "3", "-i", "0.2", containers[3].address(4)], check=True)
    expect(page.locator("main dd", has_text="packets").first).not_to_contain_text(" 0 packets", timeout=PATIENCE)


def test_a_packets_way_over_the_hosts(page: Page, lab: Lab) -> None:
    page.get_by_role("link", name="Trace", exact=True).click()
    page.get_by_label("From").fill("over-1")
    page.get_by_label("To", exact=True).fill("over-4")
    page.get_by_role("button", name="Trace", exact=True).click()
    there = page.get_by_role("region", name="There")
    expect(there.locator(".place h3")).to_have_text(
        ["node-1/over-1", "node-1", "node-4", "node-4/over-4"], timeout=PATIENCE
    )
    expect(there.locator(".verdict.good")).to_contain_text("delivered to")
    expect(page.get_by_role("region", name="Back").locator(".verdict.good")).to_contain_text("delivered to")
    live = page.locator("section.live")
    live.get_by_role("button", name="Send it for real").click()
    expect(live.locator(".verdict.good")).to_contain_text("as the tables say", timeout=PATIENCE)
    expect(live.locator(".sight").first).to_be_visible()


def test_what_stops_a_packet_and_the_command_that_mends_it(page: Page, lab: Lab) -> None:
    """A rule of somebody else's on the host where it should arrive. The command is run as the page has it."""
    node = lab.host("node-4")
    rules = (
        "add table inet stop; add chain inet stop f { type filter hook forward priority 0; }; add rule inet stop f drop"
    )
    node.must("rules", ["nft", rules])
    try:
        page.get_by_role("link", name="Trace", exact=True).click()
        page.get_by_label("From").fill("over-1")
        page.get_by_label("To", exact=True).fill("over-4")
        page.get_by_label("Protocol").select_option("tcp")
        page.get_by_label("Port", exact=True).fill("80")
        page.get_by_role("button", name="Trace", exact=True).click()
        verdict = page.locator(".verdict.bad")
        expect(verdict).to_contain_text("Ends here", timeout=PATIENCE)
        expect(verdict.locator(".command .where")).to_have_text("on node-4")
        fix = verdict.locator(".command code").inner_text()
        node.must("the command of the page", ["sh", "-c", fix])
        page.get_by_role("button", name="Trace", exact=True).click()
        expect(page.locator(".verdict").first).not_to_contain_text("inet stop", timeout=PATIENCE)
    finally:
        node.run(["nft", "delete table inet stop"])


def test_a_link_that_breaks_and_comes_back(page: Page, lab: Lab) -> None:
    expect(host(page, "node-3")).to_contain_text("alive")
    lab.link("node-3", up=False)
    try:
        expect(host(page, "node-3").locator(".state").first).not_to_have_text("alive", timeout=PATIENCE)
        expect(page.locator("nav .count")).to_be_visible()
        page.get_by_role("link", name="Problems").click()
        expect(page.locator(".problem", has_text="node-3").first).to_be_visible()
        page.get_by_role("link", name="Map", exact=True).click()
    finally:
        lab.link("node-3", up=True)
    expect(host(page, "node-3").locator(".state").first).to_have_text("alive", timeout=PATIENCE)
    converged(lab)


def test_what_another_host_finds(page: Page) -> None:
    page.get_by_role("link", name="Problems").click()
    page.get_by_role("button", name="Check all hosts").click()
    expect(page.get_by_role("button", name="Check all hosts")).to_be_enabled(timeout=PATIENCE)
    expect(page.locator(".problem", has_text="could not be checked")).to_have_count(0)


def test_an_agent_that_is_restarted(page: Page, lab: Lab) -> None:
    agent = lab.agent("node-1")
    agent.end(signal.SIGKILL)
    expect(page.locator("#banner")).to_contain_text("no agent answers", timeout=PATIENCE)
    agent.start()
    expect(page.locator("#banner")).to_be_hidden(timeout=PATIENCE)
    expect(host(page, "node-4").locator(".names a")).to_have_text(["over-4"], timeout=PATIENCE)
    converged(lab)
