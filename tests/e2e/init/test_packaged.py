"""Two commands a host: the package is installed on three bare Debian hosts, and `weft init` makes them a cluster whose store is
an etcd over TLS with a user."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import package
from support.guarded import PASSWORD, guarded_etcd
from support.machines import GATEWAY, Machines, machines, room
from support.waiting import until

pytestmark = pytest.mark.timeout(900)  # where the hosts' Debian is installed first, and the package built
CREATE = "weft network create blue --driver vxlan --subnet 10.20.0.0/16 --subnet fd00:20::/48"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    seen = {package.built().weft.parent: "/packages"}
    with machines(tmp_path_factory.mktemp("hosts"), ["node-1", "node-2", "node-3"], room(), seen) as found:
        yield found


def test_three_hosts_from_the_package_to_containers_that_reach_each_other(
    bare: Machines, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with bare.wire.entered(), guarded_etcd(tmp_path_factory.mktemp("etcd"), GATEWAY) as etcd:
        for machine in bare.values():
            machine.write("/etc/ssl/etcd-ca.pem", etcd.ca.read_text())
            machine.sh("apt-get install -y --no-install-recommends /packages/weft_*.deb", seconds=400)
            command = f"weft init --store {etcd.url} --store-ca /etc/ssl/etcd-ca.pem --store-password-file -"
            done = machine.run(["sh", "-c", command], stdin=f"{PASSWORD}\n")
            assert done.stdout.splitlines()[-2:] == ["next:", f"  {CREATE}"]
        one, *others = bare.values()
        one.sh(CREATE)
        for number, machine in enumerate(bare.values(), 1):
            until(lambda m=machine: "blue" in m.sh("weft network ls -q"), 30, "blue")  # type: ignore[misc]
            machine.sh(f"ip netns add c{number}; weft attach c{number} --network blue --dns")
        for family in ("-4", "-6"):
            for number, machine in enumerate(others, 2):
                ping = ["ip", "netns", "exec", f"c{number}", "ping", family, "-c1", "-W1", "c1"]
                until(lambda m=machine, p=ping: m.run(p, check=False).returncode == 0, 30, " ".join(ping))  # type: ignore[misc]
        until(lambda: one.run(["weft", "status", "--check"], check=False).returncode == 0, 60, "all is well")
