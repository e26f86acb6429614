"""What this host's part in a mesh is made of, where it is no test's: membership by SWIM, and voters that are etcd's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from weft.agent.config import Config
from weft.agent.mesh import FOLDER, Facts, Mesh, Part
from weft.base.net import IPAddress
from weft.daemons.voter import installed
from weft.mesh import ports, secret, tls
from weft.mesh.keeper import Keeper
from weft.mesh.swim import Swim
from weft.mesh.swim.seen import CLUSTER
from weft.mesh.voters import FACT, Said
from weft.model import decode
from weft.store.etcd_link import Drop, Secrets
from weft.store.url import mesh_hosts

ZONE = "zone"
"""The label by whose values voters are spread."""


log = logging.getLogger(__name__)


def mesh(config: Config, name: str) -> Mesh:
    """Raises Invalid, Denied: what is wrong with the URL or the secret."""
    named, key, state = mesh_hosts(config.store), secret.read(config.mesh_secret), Path(config.state_dir) / FOLDER

    if not installed():
        log.warning("etcd is not installed: this host uses the store, and cannot be one of those that keep it")

    def make(address: IPAddress) -> Part:
        members = Swim(name=name, address=address, secret=key, named=named, state=state)
        facts = Facts(members.say)
        zone, run = config.labels.get(ZONE, ""), Path(config.run_dir)
        keeper = Keeper(members, key, named, run=run, state=state, say=lambda text: _say(facts, text), zone=zone)
        return Part(address, members, keeper, facts, members.counts)

    return Mesh(name, named, Secrets(tls.client(key)), make)


def _say(facts: Facts, text: str) -> None:
    """Members are told apart by cluster. One that began anew with the data of one voter is the same to them."""
    cluster = decode(Said, text.encode()).cluster
    facts.put(**{FACT: text, CLUSTER: cluster.number if cluster else ""})


class Named:
    """The `Voters` of a store for a moment, without an agent: hosts that its URL names are asked, by voter or by relay."""

    def __init__(self, config: Config) -> None:
        """Raises Invalid, Denied."""
        self._hosts = [f"[{host}]" if ":" in host else host for host in mesh_hosts(config.store)]
        self._secrets = Secrets(tls.client(secret.read(config.mesh_secret)))

    async def endpoints(self) -> Sequence[str]:
        return [f"{host}:{port}" for port in (ports.VOTER, ports.RELAY) for host in self._hosts]

    def secrets(self) -> Secrets:
        return self._secrets

    def use(self, endpoint: str, drop: Drop) -> None:
        pass

    def why(self, reasons: Sequence[str]) -> str:
        return "; ".join(reasons)
