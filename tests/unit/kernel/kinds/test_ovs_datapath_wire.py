"""Flows of Open vSwitch's datapath as messages: what is written is read as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.base.net import Family
from weft.hoststate.ovs_datapath import GROUPS
from weft.kernel.kinds import ovs_datapath_wire as wire
from weft.kernel.kinds.ovs_datapath_wire import Flow
from weft.kernel.plumbing import uapi as u

PORTS, NUMBERS = st.integers(1, 65534), st.integers(1, (1 << 24) - 1)
MACS = st.binary(min_size=6, max_size=6).map(lambda b: bytes([b[0] & 0xFE, *b[1:]]).hex(":"))


@st.composite
def outputs(draw: st.DrawFn) -> tuple[tuple[int, str, str, int], ...]:
    plain = st.tuples(PORTS, st.just(""), st.just(""), st.just(0))
    remote, local = (str(draw(st.ip_addresses(v=4))) for _ in range(2))
    into = st.tuples(PORTS, st.just(remote), st.just(local), NUMBERS)
    six = st.tuples(PORTS, st.just("fd00::2"), st.just("fd00::1"), NUMBERS)
    return (*draw(st.lists(plain, max_size=1)), *draw(st.lists(st.one_of(into, six), min_size=1, max_size=4)))


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    vni = draw(st.one_of(st.just(0), NUMBERS))
    family: Family = draw(st.sampled_from([4, 6])) if vni else 4
    return Flow(draw(PORTS), draw(st.one_of(st.just(""), st.just(GROUPS), MACS)), vni, family, draw(outputs()))


@given(flows())
def test_what_is_written_is_read(flow: Flow) -> None:
    message = wire.ask(u.OVS_CMD_NEW, 7, wire.flow(flow))
    assert wire.decode_flow(message, 0, len(message)) == flow


def test_outputs_of_ports_that_are_gone_are_not_there() -> None:
    flow = Flow(1, GROUPS, 0, 4, ((2, "192.168.1.254", "192.168.1.68", 7), (3, "", "", 0)))
    (found,) = wire.objects([flow], {1: "a", 2: "b"}, "weft.dp", "")
    assert (found.dev, found.to, found.remote, found.number) == ("a", "b", "192.168.1.254", 7)
    assert list(wire.objects([flow], {2: "b", 3: "c"}, "weft.dp", "")) == []
