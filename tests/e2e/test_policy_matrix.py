"""Network policy as a truth table: nine pods in each of four networks, everything that one may try with another of them, and
the oracle that has read the documents only. One change of policy is about all networks; their tables are looked at side by
side.

Some of all cases are run each time, with addresses of each network and family in turn. All of them, with all addresses:
`WEFT_MATRIX=all ./dev test e2e -- -k policy_matrix`."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import pytest

from support.cluster import settings
from support.policy_cases import PODS, base
from support.policy_every import Case, every_case
from support.policy_lab import PLACES, Pods, Truth
from support.probing import Probers
from support.reach import converged, make_network
from support.waiting import note
from weft.lab import Lab, reference

HOSTS = ("node-1", "node-2", "node-4")
NETWORKS = {
    "routed": {"encap": "vxlan-cross-subnet"},
    "vxlan": {},
    "overlay": {},
    "bridge": {},
}
"""By their drivers, with options. The one of driver bridge has all pods on one host: it reaches no other."""
NAMES = [*PODS, "y-2/a", "y-2/b", "x/d"]
CASES, OTHERS = (every_case({pod: f"10.{n}.{i}.2" for i, pod in enumerate(NAMES)}) for n in (1, 2))
"""Their names and order are those of all addresses."""
NAMING = {number for number, case in enumerate(CASES) if case != OTHERS[number]}
"""The cases whose documents name addresses, so that each network and family is a case of its own."""
ALL = os.environ.get("WEFT_MATRIX") == "all"
SHARE = {"nftables": 4, "iptables": 12}
"""By renderer: one of so many cases of a group is run, and at least one."""


class Choice(NamedTuple):
    """`network`, `family`: of the addresses that documents name. `families`: those that are probed. No two are alike: pytest
    would run them one after the other, and make a lab for each."""

    renderer: str
    number: int
    network: str
    family: int
    families: tuple[int, ...]


def choices(renderer: str) -> list[Choice]:
    networks, both = list(NETWORKS), (4, 6)
    if ALL:
        each = [
            (n, itertools.product(networks, both) if n in NAMING else [(networks[0], 4)]) for n in range(len(CASES))
        ]
        return [Choice(renderer, number, *rest, both) for number, found in each for rest in found]
    by_group = itertools.groupby(range(len(CASES)), key=lambda number: CASES[number].group)
    some = [number for _, group in by_group for number in list(group)[:: SHARE[renderer]]]
    turns = zip(some, itertools.cycle(networks), itertools.cycle((4, 4, 6)), strict=False)
    return [Choice(renderer, number, network, family, (family,)) for number, network, family in turns]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "choice" in metafunc.fixturenames:
        found = [(renderer, choice) for renderer in SHARE for choice in choices(renderer)]
        names = [f"{renderer} {CASES[c.number].name}, {c.network} {c.family}" for renderer, c in found]
        metafunc.parametrize(("truth", "choice"), found, ids=names, indirect=["truth"], scope="module")


@pytest.fixture(scope="module")
def truth(request: pytest.FixtureRequest, lab_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    renderer: str = request.param
    folder = tmp_path_factory.mktemp(renderer)
    topology = reference()
    topology = msgspec.structs.replace(topology, hosts=tuple(h for h in topology.hosts if h.name in HOSTS))
    with Lab.up(topology, name=f"matrix-{renderer}", command=settings(folder, policy=renderer)) as lab:
        yield from populated(lab)


def populated(lab: Lab) -> Iterator[Truth]:
    start = time.monotonic()
    converged(lab, HOSTS)
    found = Truth(lab, HOSTS, {})
    probers = {network: Probers() for network in NETWORKS}
    try:
        for number, (network, options) in enumerate(NETWORKS.items()):
            make_network(
                lab, network, network, f"10.{40 + number}.0.0/16", f"fd00:{40 + number}::/48", hosts=HOSTS, **options
            )
            places = dict.fromkeys(PODS, HOSTS[0]) if network == "bridge" else dict(zip(PODS, PLACES, strict=True))
            found.pods[network] = Pods(lab, network, places, probers[network])
            found.pods[network].start(found.facts.pods)
        found.begin()
        note(f"36 pods in {time.monotonic() - start:.1f} s")
        assert found.compare(4, list(NETWORKS)) == found.compare(6, list(NETWORKS)) == {}, (
            "without policies all is allowed"
        )
        yield found
    finally:
        for each in probers.values():
            each.close()


def test_a_case(truth: Truth, choice: Choice) -> None:
    case = every_case(truth.pods[choice.network].addresses[choice.family])[choice.number]
    assert pictures(truth, case, choice.families) == ""


@pytest.mark.parametrize("truth", list(SHARE), indirect=True, scope="module")
def test_which_rules_they_are(truth: Truth, request: pytest.FixtureRequest) -> None:
    truth.enforce(base())
    ruleset = truth.lab.host(HOSTS[0]).must("rules", ["nft", "list", "table", "inet", "weft"])
    assert ("@policy-to4" in ruleset) == (request.node.callspec.params["truth"] == "nftables")


def pictures(truth: Truth, case: Case, families: Sequence[int]) -> str:
    found = truth.play(case, families, list(NETWORKS))
    return "".join(f"\n{case.name}, {where}: {picture}" for where, picture in found.items())
