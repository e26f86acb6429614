"""The command line, and what the benchmarks are made of without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import __main__ as command
from bench import bulk, change, model


def test_without_a_word_all_are_run() -> None:
    options = command.chosen([])
    assert options.which == [
        "datapath",
        "agent",
        "cni",
        "convergence",
        "spread",
        "readiness",
        "overlay-remote",
        "fastpath",
        "docker",
        "policy",
        "services",
        "routing-mesh",
        "dns",
        "inspect",
        "trace",
        "udp",
        "swim",
        "mesh",
        "sleeve",
        "aws",
        "neutron",
        "bgp",
    ]
    assert (options.json, options.quick) == (None, False)


def test_words_and_options() -> None:
    options = command.chosen(["agent", "--json", "f.json", "--quick"])
    assert (options.which, options.json, options.quick) == (["agent"], Path("f.json"), True)


def test_a_driver_can_be_had_by_itself() -> None:
    assert command.chosen(["datapath-routed"]).which == ["datapath-routed"]
    assert command.chosen(["services-overlay"]).which == ["services-overlay"]


def test_a_path_can_be_had_by_itself_and_counted() -> None:
    options = command.chosen(["fastpath-vxlan", "--vm"])
    assert (options.which, options.vm) == (["fastpath-vxlan"], True)


@pytest.mark.parametrize("words", [["--vm"], ["fastpath", "agent", "--vm"]])
def test_only_the_fast_path_is_counted(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.chosen(words)
    assert f"not {words[1] if len(words) > 1 else 'all'}" in capsys.readouterr().err


def test_an_unknown_word_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.chosen(["datapaths"])
    assert ended.value.code == 2
    assert "no benchmark 'datapaths': there are datapath, agent, cni, convergence, spread" in capsys.readouterr().err


def test_batch_input_has_a_line_for_each_object() -> None:
    things = bulk.objects(300)
    lines = bulk.batch_lines(things)
    assert len({thing.key for thing in things}) == 900
    assert (len(set(lines["ip"])), len(set(lines["bridge"]))) == (600, 300)
    assert "route add 10.2.43.0/24 via 10.2.43.0 dev weft.9 onlink proto 87" in lines["ip"]


def test_the_model_is_one_that_weft_takes() -> None:
    """Every node gets a route, a neighbour and an FDB entry, so does each of this node's containers but for the route; one that
    comes and goes leaves nothing."""
    core = change.Core(change.Effort(nodes=20, endpoints=3))
    kinds = [key[0] for key in core.union.desired]
    assert (kinds.count("fdb"), kinds.count("neighbour")) == (19 + 3, 19 + 3)
    before = dict(core.known)
    key, value = model.endpoint_item(1, 3)
    came = core.change(key, value)
    core.carried_out(came)
    devices = {"link", "sysctl", "address", "neighbour", "fdb", "route", "nft-element"}
    assert {op.obj.key[0] for op in came} == devices | {"bpf-link", "fast-home", "nft-flow-device"}
    assert core.known == core.union.desired != before
    core.carried_out(core.change(key, None))
    assert core.known == core.union.desired == before


def test_a_subnet_that_is_taken_is_avoided() -> None:
    free = model.lease(5)
    assert model.lease(5, str(free.subnets[0])).subnets != free.subnets
