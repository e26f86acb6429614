"""Which way two hosts choose, what they lose meanwhile, and that they agree: in a simulated time (`support.wires`)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.wires import FULL, Wires
from weft.datapaths.driver import Path
from weft.paths.channels import Channel, Way
from weft.paths.probe import Probe

K, S = Way.KERNEL, Way.SLEEVE
FALLS, RETURNS = 3.0, 15.0
"""Seconds that are promised (docs/paths.md)."""


def settled(names: str = "AB", seed: int = 1) -> Wires:
    wires = Wires(names, seed)
    wires.run(10)
    assert not wires.log
    return wires


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cut", [{("A", "B")}, {("B", "A")}, {("A", "B"), ("B", "A")}])
def test_the_kernels_way_is_cut(cut: set[tuple[str, str]], seed: int) -> None:
    wires = settled(seed=seed)
    wires.passes = lambda a, b, way, _size: way is not K or (a, b) not in cut
    assert wires.until(lambda: wires.both("A", "B", "sleeve"), FALLS) > 1
    wires.run(60)
    assert wires.both("A", "B", "sleeve")
    wires.passes = lambda *_: True
    wires.until(lambda: wires.both("A", "B", "kernel"), RETURNS)
    assert len(wires.log) == 4


def test_a_new_pair_waits_for_nothing_and_learns_that_a_way_was_never_there() -> None:
    wires = Wires("AB")
    assert wires.machines["A"].paths() == {}
    wires.passes = lambda _a, _b, way, _size: way is not K
    wires.until(lambda: wires.both("A", "B", "sleeve"), FALLS + 1)


def test_large_packets_get_lost() -> None:
    """And nobody tells: in the kernel's way and in the sleeve, whose outer packets are larger."""
    wires = settled()
    limit = {K: 1387, S: 1301}
    wires.passes = lambda a, b, way, size: (a, b) != ("A", "B") or size <= limit[way]
    wires.until(lambda: wires.both("A", "B", "sleeve"), 6)
    assert wires.machines["A"].pairs["B"].path == Path(way="sleeve", mtu=1280)
    wires.run(20)
    assert 1297 <= wires.machines["A"].pairs["B"].path.mtu <= 1301
    assert wires.machines["B"].pairs["A"].path.mtu == 0
    assert 1383 <= wires.machines["A"].pairs["B"].size(K) <= 1387
    limit[S] = 1200
    wires.run(60)
    assert 1196 <= wires.machines["A"].pairs["B"].path.mtu <= 1200
    wires.passes = lambda *_: True
    wires.until(lambda: wires.both("A", "B", "kernel"), RETURNS)


def test_only_small_ones_pass_and_there_is_no_other_way() -> None:
    wires = settled()
    wires.passes = lambda _a, _b, way, size: way is K and size <= 1400
    wires.run(30)
    assert wires.way("A", "B") == "kernel"
    assert 1396 <= wires.machines["A"].pairs["B"].path.mtu <= 1400


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cut", [{("A", "B")}, {("A", "B"), ("B", "A")}])
def test_two_that_do_not_reach_each_other(cut: set[tuple[str, str]], seed: int) -> None:
    wires = settled("ABCD", seed)
    wires.passes = lambda a, b, _way, _size: (a, b) not in cut
    wires.until(lambda: wires.both("A", "B", "relay"), FALLS + 0.5)
    pair = wires.machines["A"].pairs["B"]
    assert pair.path.via in "CD"
    assert {frozenset((a, b)) for _, a, b, _ in wires.log} == {frozenset("AB")}
    wires.run(60)
    assert len(wires.log) == 2
    wires.passes = lambda *_: True
    wires.until(lambda: wires.both("A", "B", "kernel"), RETURNS)


def test_the_third_host_shares_no_network_with_them() -> None:
    wires = Wires("ABC", active=lambda a, b: {a, b} == {"A", "B"})
    wires.run(15)
    wires.passes = lambda a, b, _way, _size: {a, b} != {"A", "B"}
    wires.until(lambda: wires.both("A", "B", "relay"), FALLS + 1)


def test_the_third_host_ends_and_another_carries() -> None:
    wires = settled("ABCD")
    wires.passes = lambda a, b, _way, _size: {a, b} != {"A", "B"}
    wires.until(lambda: wires.both("A", "B", "relay"), 4)
    wires.run(10)
    gone = wires.machines["A"].pairs["B"].path.via
    wires.passes = lambda a, b, _way, _size: {a, b} != {"A", "B"} and gone not in (a, b)
    other = ({"C", "D"} - {gone}).pop()
    wires.until(lambda: wires.machines["A"].pairs["B"].path.via == other, 6)


def test_a_host_that_says_nothing_is_no_reason_to_change_anything() -> None:
    wires = settled("ABC")
    wires.ended.add("B")
    wires.run(120)
    wires.ended.clear()
    wires.run(20)
    assert not wires.log


def test_an_agent_is_started_again_while_packets_go_by_the_sleeve() -> None:
    wires = settled()
    wires.passes = lambda a, _b, way, _size: way is not K or a == "A"
    wires.until(lambda: wires.both("A", "B", "sleeve"), FALLS)
    wires.log.clear()
    for name in "AB":
        wires.restart(name)
        wires.run(0.3)
        assert wires.both("A", "B", "sleeve")
        wires.run(20)
    assert wires.both("A", "B", "sleeve")
    assert [entry for entry in wires.log if entry[3] != "sleeve"] == []


def test_a_recorded_probe_is_worth_nothing() -> None:
    wires = settled()
    recorded: list[tuple[Channel, Probe]] = []
    wires.tap = lambda channel, probe: recorded.append((channel, probe))
    wires.run(5)
    assert recorded
    assert not any(wires.machines[probe.to].heard(channel, probe, wires.now) for channel, probe in recorded)
    wires.restart("A")
    assert not any(
        wires.machines["A"].heard(channel, probe, wires.now) for channel, probe in recorded if probe.to == "A"
    )
    wires.run(5)
    assert wires.machines["A"].pairs["B"].shown(K)


def test_a_fifth_of_all_probes_is_lost() -> None:
    wires = Wires("ABC", seed=7)
    wires.loss = 0.2
    wires.run(900)
    assert not wires.log
    wires.passes = lambda _a, _b, way, _size: way is not K
    wires.until(lambda: all(wires.both(a, b, "sleeve") for a, b in ("AB", "BC", "CA")), FALLS + 1)


def test_a_way_that_comes_and_goes_is_left_alone_for_longer_and_longer() -> None:
    wires = settled()
    for _ in range(60):
        wires.passes = lambda _a, _b, way, _size: way is not K
        wires.run(5)
        wires.passes = lambda *_: True
        wires.run(8)
    assert len(wires.log) < 24


def test_a_few_times_it_comes_back_at_once() -> None:
    wires = settled()
    for _ in range(3):
        wires.passes = lambda _a, _b, way, _size: way is not K
        wires.until(lambda: wires.both("A", "B", "sleeve"), FALLS)
        wires.passes = lambda *_: True
        wires.until(lambda: wires.both("A", "B", "kernel"), RETURNS / 2)


def test_what_it_costs() -> None:
    """Probes for a host, a second: five in two seconds on each way where a network is shared, else one in ten seconds."""
    wires = Wires("ABCDEFGH", active=lambda a, b: {a, b} <= set("ABCD"))
    wires.run(60)
    before = wires.frames
    wires.run(100)
    often, seldom = 4 * 3, 8 * 7 - 4 * 3
    assert wires.frames - before <= 100 * (often * 2 * (2.5 + 2.5 / 5) + seldom * (4 / 10)) * 1.1


def test_round_trips_are_measured() -> None:
    wires = settled()
    rtt = wires.machines["A"].pairs["B"].rtt(K)
    assert rtt is not None
    assert 0.0001 < rtt < 0.04


states = st.fixed_dictionaries({(a, b, way): st.booleans() for a, b in ("AB", "BA") for way in (K, S)})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(states, st.floats(0.1, 20)), max_size=4), st.integers(0, 1000), st.sampled_from([0, 0.1]))
def test_both_come_to_the_same_whatever_happened(history: list, seed: int, loss: float) -> None:
    """Whatever is cut for however long: as long as anything passes in each direction by some way, both ends come to the best
    way that passes in both, and stay there."""
    wires = Wires("AB", seed)
    wires.loss = loss
    now = dict.fromkeys([(a, b, way) for a, b in ("AB", "BA") for way in (K, S)], True)
    wires.passes = lambda a, b, way, _size: now[a, b, way]
    for state, seconds in history:
        now.update(state)
        wires.run(seconds)
    wires.loss = 0
    wires.run(150)
    both = [way for way in (K, S) if now["A", "B", way] and now["B", "A", way]]
    if both:
        assert wires.both("A", "B", min(both).name.lower())
    wires.log.clear()
    wires.run(60)
    assert not wires.log


def test_the_sizes_that_are_probed_are_those_of_both_ends() -> None:
    wires = settled()
    sizes = []
    wires.passes = lambda _a, _b, way, size: sizes.append((way, size)) or True  # type: ignore[func-returns-value]
    wires.run(5)
    assert {way: max(s for w, s in sizes if w is way) for way in (K, S)} == FULL
