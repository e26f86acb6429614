"""The order of modules. Workers are given whole modules, in this order: one that takes long and begins late leaves all other
workers waiting for its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.neutron_server import NeutronServer

# How long an example takes says something about the machine's other work, and nothing about a property.
settings.register_profile("weft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("weft")

# A shell's background process ignores it, and so would all that it starts: also the commands that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = (
    "e2e/test_neutron_agent",
    "e2e/test_policy_matrix",
    "e2e/test_neutron_routes",
    "e2e/test_aws_vpc",
    "e2e/test_conformance",
    "e2e/test_flannel_mixed",
    "e2e/engines/test_docker_restarts",
    "e2e/engines/test_podman",
    "e2e/cni/test_conformance",
    "e2e/cni/test_crash",
    "e2e/test_bandwidth",
    "e2e/faults/test_store_lost",
    "e2e/faults/test_attach",
    "e2e/engines/test_docker",
    "e2e/test_overlay",
    "e2e/test_service_changes",
    "e2e/test_policy",
    "e2e/test_ports",
    "e2e/faults/test_routed",
    "e2e/test_routed_moves",
    "e2e/test_chaos",
    "e2e/faults/test_deleted",
    "e2e/faults/test_nodes",
    "e2e/test_bad_input",
    "e2e/engines/test_docker_routed",
    "e2e/engines/test_mixed",
    "e2e/test_trace",
    "e2e/test_questions",
    "e2e/faults/test_purge",
    "e2e/faults/test_agent_killed",
    "e2e/test_bgp",
    "e2e/test_routed",
    "e2e/test_plan",
    "e2e/cni/test_fuzz",
    "e2e/faults/test_uplink",
    "e2e/engines/test_containerd",
    "netns/datapaths/test_guard",
    "e2e/test_scale",
)
"""Modules that take over half a minute on a busy machine, the longest first. All others follow as they are found."""

_HERE = Path(__file__).parent
_PLACES = {_HERE / f"{name}.py": place for place, name in enumerate(LONG)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.markexpr or "figures" not in config.option.markexpr:  # on demand only
        unasked = [item for item in items if item.get_closest_marker("figures")]
        items[:] = [item for item in items if item not in unasked]
        config.hook.pytest_deselected(items=unasked)
    items.sort(key=lambda item: _PLACES.get(item.path, len(_PLACES)))


@pytest.fixture(scope="session")
def neutron_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NeutronServer]:
    """Whoever makes something in it removes it."""
    server = NeutronServer(tmp_path_factory.mktemp("neutron"))
    server.start()
    yield server
    server.stop()
