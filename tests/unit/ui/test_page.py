"""Each view of the page, in Chromium, of a cluster that a canned agent tells of."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest
from playwright.sync_api import Page, expect

from support import pages
from support.canned_agent import CannedAgent
from weft.api.topology import EndpointLine
from weft.ui import server, tracing

Show = Callable[[str], Page]
VIEWS = ["", "endpoints", "endpoint/e10", "host/node-1", "network/blue", "services", "trace?from=a&to=b", "problems"]


@pytest.fixture(autouse=True)
def nothing_amiss(said: list[str]):  # type: ignore[no-untyped-def]
    """The browser has nothing to complain of: no script fails, and nothing breaks the policy for contents."""
    yield
    assert said == []


def test_the_address_has_no_token_any_more(page: Page) -> None:
    assert "token" not in page.url and page.title() == "Map · Weft"


def test_the_map_shows_hosts_by_segment_with_what_runs_there(page: Page) -> None:
    expect(page.locator(".segment h2")).to_contain_text(["192.168.0.0/24", "192.168.1.0/24"])
    expect(page.locator(".segment").nth(1).locator(".host .name a")).to_have_text(["node-1", "node-2", "node-3"])
    first = page.locator(".host", has_text="node-1")
    expect(first.locator(".names a")).to_have_text(["api-1", "cache-1", "db-1", "web-1"])
    expect(page.locator(".host", has_text="node-2").locator(".shares")).to_have_text("BGP up")
    expect(page.locator("#foot")).to_contain_text("10 endpoints")


def test_networks_filter_the_map(page: Page) -> None:
    page.get_by_role("button", name="office").click()
    expect(page.locator(".host", has_text="node-1").locator(".names a")).to_have_text(["db-1"])
    expect(page.locator(".host", has_text="node-4").locator(".none")).to_have_text("none of these networks")
    page.keyboard.press("Escape")
    expect(page.locator(".host", has_text="node-1").locator(".names a")).to_have_count(4)


def test_the_map_has_a_table_twin(page: Page) -> None:
    page.get_by_role("button", name="Show as table").click()
    rows = page.get_by_role("table", name="Hosts", exact=True).get_by_role("row")
    expect(rows).to_have_count(5)
    expect(rows.nth(2)).to_contain_text("node-1")


def test_what_changes_is_shown_without_loading_again(page: Page, world: pages.World) -> None:
    page.evaluate("window.kept = true")
    silent = msgspec.structs.replace(world.rows.get("nodes", "node-3"), alive=False, evidence="silent for 9 s")
    world.put("nodes", "node-3", silent)
    expect(page.locator(".host.warn")).to_contain_text(["silent for 9 s"])
    expect(page.locator("#news")).to_have_text("node-3 is silent.")
    expect(page.locator("nav .count")).not_to_have_text("1")
    world.put("endpoints", "new", EndpointLine(name="fresh", network="blue", node="node-4"))
    expect(page.locator(".host", has_text="node-4").locator(".names a")).to_have_text(["fresh", "web-4"])
    world.put("nodes", "node-4", None)
    expect(page.locator(".host")).to_have_count(3)
    assert page.evaluate("window.kept")


def test_what_has_focus_and_is_marked_stays_so_while_things_change(show: Show, world: pages.World) -> None:
    page = show("host/node-1")
    devices = page.get_by_role("table", name="Devices")
    link = page.get_by_role("region", name="Subnets").get_by_role("link", name="prod")
    link.focus()
    link.evaluate("e => { window.held = e; getSelection().selectAllChildren(document.querySelector('h1')); }")
    for more in (1, 2):
        world.put("links", "eth0", pages.counters("", 0, uplink=True, more=more * 10**9))
        expect(devices.locator("tbody tr").first).to_contain_text(f"{10 + more}.0 GB")
    world.put("links", "weft77", pages.counters("veth", 3))
    expect(devices).to_contain_text("weft77")
    world.put("links", "weft77", None)
    expect(devices).not_to_contain_text("weft77")
    expect(link).to_be_focused()
    assert page.evaluate("window.held.isConnected && getSelection().toString()") == "node-1"


class TestManyHosts:
    @pytest.fixture
    def world(self) -> pages.World:
        return pages.many()

    def test_of_thousands_only_those_that_are_seen_are_drawn(self, show: Show) -> None:
        page = show("endpoints")
        expect(page.locator(".title .number")).to_have_text("5,000 endpoints")
        assert page.locator(".rows .row").count() < 60
        page.locator(".rows a").first.focus()
        page.keyboard.press("End")
        last = page.locator(".rows .row[aria-rowindex='5001']")
        expect(last.locator("a")).to_be_focused()
        expect(last).to_contain_text("app-39-4999")
        page.keyboard.press("ArrowUp")
        expect(page.locator(".rows .row[aria-rowindex='5000'] a")).to_be_focused()
        page.keyboard.press("Home")
        expect(page.locator(".rows a").first).to_be_focused()

    def test_a_hundred_hosts_are_drawn_once(self, page: Page, world: pages.World) -> None:
        expect(page.locator("li.host")).to_have_count(100)
        page.evaluate("document.querySelectorAll('li.host').forEach(e => { e.mine = true; })")
        moved = msgspec.structs.replace(world.rows.get("endpoints", "id000000"), node="node-002")
        world.put("endpoints", "id000000", moved)
        expect(page.locator("li.host[data-key=node-002] .tally")).to_contain_text("51 endpoints")
        assert page.evaluate("[...document.querySelectorAll('li.host')].filter(e => !e.mine).length") == 2


def test_an_agent_that_goes_and_another_that_comes(page: Page, world: pages.World, said: list[str]) -> None:
    world.leave()
    expect(page.locator("#banner")).to_contain_text("no agent answers")
    world.rows.put("endpoints", "e40", None)
    world.restart()
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator(".host", has_text="node-4").locator(".none")).to_have_text("no endpoints")


def test_search_finds_by_anything(page: Page) -> None:
    page.keyboard.press("/")
    for text, found in (("web", 4), ("tier=front node-2", 1), ("10.3.", 3), ("02:42:0a:01:01", 4), ("nothing", 0)):
        page.locator("#find-text").fill(text)
        expect(page.locator(".title .number")).to_contain_text(f"{found} endpoint")
        expect(page.locator(".rows .row")).to_have_count(found)
    page.locator("#find-text").fill("node-2")
    expect(page.locator(".others")).to_contain_text("Hosts")
    page.locator("#find-text").fill("cache")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("cache-1")


def test_an_endpoint(show: Show) -> None:
    page = show("endpoint/e10")
    expect(page.locator("h1")).to_have_text("web-1")
    for text in ("10.1.1.66", "02:42:0a:01:01:00", "app=web", "1450", "/run/netns/web-1"):
        expect(page.locator("main")).to_contain_text(text)
    expect(page.get_by_role("table", name="Services it is a member of", exact=True)).to_contain_text("blue/web")
    expect(page.get_by_role("table", name="Published ports", exact=True)).to_contain_text("8080")
    page.get_by_role("link", name="Trace from here").click()
    expect(page.locator("#t-from")).to_have_value("node-1/web-1")


def test_an_endpoint_that_goes_while_it_is_shown(show: Show, world: pages.World) -> None:
    page = show("endpoint/e10")
    expect(page.locator("main")).to_contain_text("/run/netns/web-1")
    world.put("endpoints", "e10", None)
    expect(page.locator("main .gone")).to_be_visible()
    expect(page.locator("main")).to_contain_text("/run/netns/web-1")


def test_a_host_with_its_devices_and_sessions(show: Show, world: pages.World) -> None:
    page = show("host/node-1")
    expect(page.locator("main h2").first).to_have_text("Host")
    expect(page.get_by_role("table", name="BGP sessions", exact=True)).to_contain_text("AS mismatch")
    devices = page.get_by_role("table", name="Devices", exact=True)
    expect(devices.locator("tbody tr").first).to_contain_text("eth0")
    expect(devices.locator("tbody tr").first).to_contain_text("20.0 GB")
    world.put("links", "weft.1", pages.counters("vxlan", 1, up=False))
    expect(devices.locator("tr", has_text="weft.1")).to_contain_text("down")


def test_a_network_and_services(show: Show) -> None:
    page = show("network/blue")
    expect(page.locator("main")).to_contain_text("team=payments")
    expect(page.get_by_role("table", name="Hosts in this network", exact=True).locator("tbody tr")).to_have_count(4)
    page = show("services")
    expect(page.locator("main")).to_contain_text("3 of 4 members ready")
    expect(page.locator("main")).to_contain_text("connection refused")


def test_a_trace_there_and_back(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def traced(_: object, params: dict[str, str]) -> object:
        asked.append(dict(params))
        return pages.trace_of(broken=params["to"] == "far")

    monkeypatch.setattr(server, "trace", traced)
    page = show("trace")
    page.get_by_label("From").fill("node-1/web-1")
    page.get_by_label("To", exact=True).fill("node-4/web-4")
    page.get_by_role("button", name="Trace").click()
    there = page.get_by_role("region", name="There")
    expect(there.locator(".place h3")).to_have_text(["node-1/web-1", "node-1", "node-4", "node-4/web-4"])
    expect(there.locator(".hop")).to_have_count(8)
    expect(there.locator(".verdict.good")).to_contain_text("delivered to 10.1.4.66")
    expect(page.get_by_role("region", name="Back")).to_be_visible()
    assert asked == [{"from": "node-1/web-1", "to": "node-4/web-4"}]
    page.get_by_label("Protocol").select_option("udp")
    page.get_by_label("Port", exact=True).fill("53")
    page.get_by_label("To", exact=True).fill("far")
    page.keyboard.press("Enter")
    verdict = page.locator(".verdict.bad")
    expect(page).to_have_url(re.compile("protocol=udp&port=53$"))
    expect(verdict).to_contain_text("Ends here: weft.1 on node-4 is down")
    expect(verdict.locator(".command")).to_have_text("on node-4ip link set weft.1 upCopy")
    expect(verdict.locator(".fault")).to_have_text("fault link-down")


def test_a_packet_is_sent_only_when_the_button_is_pressed(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    async def traced(*_: object) -> object:
        return pages.trace_of()

    async def proved(_: object, params: dict[str, str]) -> object:
        sent.append(dict(params))
        return tracing.Proven(pages.trace_of(), pages.proof_of())

    monkeypatch.setattr(server, "trace", traced)
    monkeypatch.setattr(server, "prove", proved)
    page = show("trace?from=node-1/web-1&to=node-4/web-4")
    live = page.locator("section.live")
    expect(live.get_by_role("button")).to_have_text("Send it for real")
    assert sent == []
    live.get_by_role("button").click()
    expect(live.locator(".verdict.bad")).to_contain_text("dropped on node-4: NETFILTER_DROP")
    expect(live.locator(".differs")).to_contain_text("the tables say that it is delivered")
    expect(live.locator(".place h4")).to_have_text(["node-1/web-1", "node-1", "node-4"])
    expect(live.locator(".sight.drop")).to_contain_text("nft_do_chain")
    assert sent == [{"from": "node-1/web-1", "to": "node-4/web-4"}]


def test_what_only_another_host_knows_is_asked_of_it(show: Show, agent: CannedAgent) -> None:
    page = show("host/node-2")
    expect(page.get_by_role("region", name="As node-2 sees it")).to_contain_text("degraded")
    expect(page.get_by_role("table", name="Problems of node-2")).to_contain_text("ENETUNREACH")
    expect(page.get_by_role("table", name="BGP sessions", exact=True)).to_contain_text("AS mismatch")
    expect(page.get_by_role("table", name="Ways to other hosts")).to_contain_text("sleeve")
    assert {(asked.operation, asked.node) for asked in agent.asked if asked.operation != "topology"} == {
        ("status", "node-2"),
        ("bgp_sessions", "node-2"),
        ("mesh_peers", "node-2"),
    }
    assert page.get_by_role("table", name="Devices").count() == 0


def test_connections_of_an_endpoint_on_another_host(show: Show, agent: CannedAgent) -> None:
    page = show("endpoint/e20")
    page.locator("section", has_text="Connections").get_by_role("button", name="Show").click()
    connections = page.get_by_role("table", name="Connections")
    expect(connections).to_contain_text("node-1/web-1:40000")
    expect(connections).to_contain_text("to node-2/web-2:8080")
    found = next(asked for asked in agent.asked if asked.operation == "flows")
    assert (found.node, found.params) == ("node-2", {"endpoint": "e20", "limit": "100"})


def test_no_two_elements_have_one_id(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    async def traced(*_: object) -> object:
        return pages.trace_of()

    monkeypatch.setattr(server, "trace", traced)
    for view in VIEWS:
        page = show(view)
        page.wait_for_selector("h1")
        twice = "[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, at, all) => all.indexOf(id) !== at)"
        assert page.evaluate(twice) == [], view
        lost = (
            "[...document.querySelectorAll('[aria-labelledby]')].filter(e => "
            "!document.getElementById(e.getAttribute('aria-labelledby'))).length"
        )
        assert page.evaluate(lost) == 0, view


def test_policies_that_select_an_endpoint(show: Show, agent: CannedAgent) -> None:
    page = show("endpoint/e10")
    expect(page.get_by_role("table", name="Policies that select it")).to_contain_text("networkpolicy/shop/web")
    assert [asked.params for asked in agent.asked if asked.operation == "policies"] == [{"endpoint": "e10"}]
    expect(page.get_by_role("link", name="Way out")).to_have_attribute(
        "href", "#/trace?from=node-1%2Fweb-1&to=192.0.2.1"
    )


def test_a_command_is_copied(show: Show, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show("problems")
    page.locator(".problem", has_text="MTU 1400").get_by_role("button").click()
    assert page.evaluate("navigator.clipboard.readText()") == "ip link set eth0 mtu 1500"


def test_what_is_the_same_on_several_hosts_is_told_once(show: Show) -> None:
    page = show("problems")
    expect(page.locator(".problem", has_text="MTU 1400").locator(".where")).to_have_text("node-1")
    page.get_by_role("button", name="Check all hosts").click()
    expect(page.locator(".problem", has_text="MTU 1400").locator(".where")).to_have_text(
        "node-1, node-2, node-3, node-4"
    )
    expect(page.locator(".problem", has_text="MTU 1400")).to_have_count(1)


def test_problems_with_what_to_do(show: Show) -> None:
    page = show("problems")
    expect(page.locator(".problem").first.locator("h2")).to_have_text("BGP with tor (192.168.1.1) is Active")
    expect(page.locator(".problem", has_text="BGP with tor")).to_contain_text("correct")


EVIL = '<img src=x onerror="window.taken=1"><script>alert(1)</script>'


@pytest.mark.parametrize(
    "view",
    ["", "endpoints", "endpoint/evil", "host/node-4", "network/blue", "trace?from=x&to=y", "problems", "services"],
)
def test_whatever_things_are_called_is_text(
    show: Show, world: pages.World, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    trace = pages.trace_of(broken=True)
    outcome = msgspec.structs.replace(trace.there.outcome, text=EVIL, advice=f"`{EVIL}`")
    hops = tuple(msgspec.structs.replace(hop, entry=EVIL, place=EVIL) for hop in trace.there.hops)
    trace = msgspec.structs.replace(
        trace, origin=EVIL, there=msgspec.structs.replace(trace.there, outcome=outcome, hops=hops)
    )

    async def traced(*_: object) -> object:
        return trace

    monkeypatch.setattr(server, "trace", traced)
    world.put("endpoints", "evil", EndpointLine(name=EVIL, network="blue", node="node-4", labels={EVIL: EVIL}))
    world.put("networks", "blue", pages.network("blue", EVIL, "10.1.0.0/16", problems=(EVIL,), labels={EVIL: EVIL}))
    world.put(
        "nodes",
        "node-4",
        msgspec.structs.replace(world.rows.get("nodes", "node-4"), evidence=EVIL, alive=False, segment=EVIL),
    )
    found = world.rows.get("services", "blue/web")
    world.put("services", "blue/web", msgspec.structs.replace(found, problems=(EVIL,)))
    page = show(view)
    expect(page.locator("main")).to_contain_text(EVIL)
    assert page.locator("main img, main script").count() == 0
    assert not page.evaluate("window.taken")


@pytest.mark.parametrize(
    "view",
    ["", "endpoints", "endpoint/e10", "host/node-1", "network/blue", "services", "trace?from=a&to=b", "problems"],
)
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(
    show: Show, page: Page, monkeypatch: pytest.MonkeyPatch, view: str, width: int
) -> None:
    async def traced(*_: object) -> object:
        return pages.trace_of(broken=True)

    monkeypatch.setattr(server, "trace", traced)
    page.set_viewport_size({"width": width, "height": 844})
    show(view)
    expect(page.locator("h1")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_by_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.locator(".host a", has_text="node-1").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-at=host-node-2]")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator("[data-at=host-node-4]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("node-4")
    page.keyboard.press("Escape")
    expect(page.locator("h1")).to_have_text("Map")


def test_each_control_has_a_name_and_each_landmark_is_there(page: Page) -> None:
    unnamed = page.evaluate(
        "[...document.querySelectorAll('a, button, input, select')].filter(e => !(e.textContent.trim() || "
        "e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []
    for role in ("banner", "navigation", "main", "search", "contentinfo"):
        expect(page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
    expect(page.locator("h1")).to_have_count(1)


def test_colours_follow_the_system_and_a_switch(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.locator("#theme").click()
    assert page.evaluate(ground) == light
    page.locator("#theme").click()
    page.emulate_media(color_scheme="light")
    page.reload()
    page.wait_for_selector("#foot span")
    assert page.evaluate(ground) == dark


def test_a_page_of_an_earlier_command_says_so(page: Page, said: list[str]) -> None:
    page.context.clear_cookies()
    page.reload()
    expect(page.locator("body")).to_contain_text("open the address that `weft ui` printed")
    said.clear()  # that it was refused is told there, too
