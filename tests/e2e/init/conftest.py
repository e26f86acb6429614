"""Three booted hosts without Weft's settings, on which the command and the units are installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import checkout
from support.machines import Machine, Machines, machines, room


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("hosts")
    with machines(folder, ["node-1", "node-2", "node-3"], room(["etcd-server"]), checkout.binds()) as found:
        for machine in found.values():
            checkout.install(machine)
            machine.sh("systemctl disable --quiet --now etcd 2>/dev/null")
        yield found


@pytest.fixture
def one(hosts: Machines) -> Machine:
    return hosts["node-1"]


@pytest.fixture
def two(hosts: Machines) -> Machine:
    return hosts["node-2"]


@pytest.fixture
def three(hosts: Machines) -> Machine:
    return hosts["node-3"]
