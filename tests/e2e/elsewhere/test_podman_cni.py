"""Podman with CNI's plugin bridge, as Debian has both, without an agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import images, podman
from support.elsewhere import Plain, ending
from support.places import Place, remove_cgroup
from support.podman import Podman
from weft.lab import Lab, flat

_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "podman",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni-podman0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall"},
    ],
}


@pytest.fixture(scope="module")
def engine(lab_base: str, tar: Path) -> Iterator[Podman]:
    podman.needed()
    if not Path("/usr/lib/cni/bridge").exists():
        pytest.skip("needs Debian's package containernetworking-plugins")
    with Lab.up(flat(1), name="elsewhere-podman", agents=False) as lab:
        engine = Podman(lab.host("node-1"), Path(lab_base) / "podman" / "node-1")
        try:
            engine.start(images.archive(tar, Place.IMAGE))
            (engine.folder / "etc/cni/net.d/87-podman.conflist").write_text(json.dumps(_NETWORK))
            for name in ("pa", "pb"):
                engine.run(name, "sleep", "1000", network="podman", options=("-p", "8080:80") if name == "pb" else ())
            yield engine
            engine.remove("pa", "pb")
        finally:
            lab.down()
            remove_cgroup(engine.cgroup)


@pytest.fixture(scope="module")
def host(engine: Podman) -> Plain:
    return Plain.on(engine.host, engine.folder)


def test_names_and_addresses_are_found_and_nothing_is_wrong(engine: Podman, host: Plain) -> None:
    address = engine.address("pb", "podman")
    assert engine.pings("pa", address)
    for words in (("pa", "pb"), ("pa", address), ("pa", "203.0.113.10")):
        found = host.trace(*words)
        assert ending(found)["ending"] in ("delivered", "left"), found
        assert found["origin"] == "node-1/pa"


def test_a_published_port_leads_to_the_container(engine: Podman, host: Plain) -> None:
    found = host.trace("node-1", "192.168.1.11", "--port", "8080")
    translated = [hop for hop in found["there"]["hops"] if hop["step"] == "nat"]
    assert "CNI-DN-" in translated[0]["entry"], found
    assert f"{engine.address('pb', 'podman')}:80" in translated[0]["result"]


def test_a_rule_of_a_person_is_named_and_mended(engine: Podman, host: Plain) -> None:
    address = engine.address("pb", "podman")
    host.sh("iptables-nft -I FORWARD -s 10.88.0.0/16 -d 203.0.113.10 -j REJECT")
    told = ending(host.trace("pa", "203.0.113.10"))
    assert told["fault"] == "rule-drops", told
    assert not engine.pings("pa", "203.0.113.10")
    host.sh(told["fix"])
    assert engine.pings("pa", "203.0.113.10")
    assert engine.pings("pa", address)
