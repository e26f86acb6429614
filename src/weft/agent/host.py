"""This host as its agent knows it: a node of the cluster, and what the data paths have to know of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from weft import __version__
from weft.agent.config import Config
from weft.agent.control import Control
from weft.agent.encryption import Encryption
from weft.base import events
from weft.base.errors import WeftError
from weft.bgp.plan import PASSWORD, TTL
from weft.cluster.cluster import Cluster
from weft.cluster.journal import boot_id
from weft.datapaths.driver import MEANS, Host, Learnt, Path
from weft.kernel.host.facts import MD5, NAMES, HostFacts
from weft.model import Node

log = logging.getLogger(__name__)


class ThisHost:
    def __init__(
        self,
        config: Config,
        cluster: Cluster,
        facts: Callable[[], Awaitable[HostFacts]],
        targets: Callable[[], Mapping[str, Learnt]] = dict,
        paths: Callable[[], Mapping[str, Path]] = dict,
        encryption: Encryption | None = None,
    ) -> None:
        """`facts`: what the kernel says now; raises WeftError: why this host cannot take part. `targets`: what those besides
        the kernel said last. `paths`: to other nodes, as they are now. `encryption`: what this host says of its keys."""
        self._config, self._cluster, self._facts = config, cluster, facts
        self._targets, self._paths = targets, paths
        self._encryption = encryption or Encryption(config)
        self._control = Control(config)
        self.node: Node | None = None
        self.host: Host | None = None
        self.features: frozenset[str] = frozenset()
        self.waiting_for = ""
        """Why this node cannot take part yet, in one line."""
        self.why = ""
        """Why it is this uplink, and these addresses."""
        self.learnt = asyncio.Event()
        """Set once there is an uplink."""

    def take(self, config: Config) -> None:
        """What is said of this host goes by these settings, from the next look on."""
        self._config = config
        self._control.metrics = config.metrics

    async def learn(self) -> bool:
        """Look at the uplink; whether something about this host is new."""
        try:
            found = await self._facts()
            registries = {n.flannel for n in self._cluster.view.networks.values()} - {""}
            control, elsewhere = await self._control.look(registries)
            node = self._as_node(found, control)
        except WeftError as error:
            self.waiting_for = str(error)
            log.warning("%s", error)
            return False
        if found.why != self.why:
            log.info("uplink %s: %s", found.uplink, found.why, extra=events.UPLINK_CHOSEN)
        self.waiting_for, self.why, self.features = "", found.why, found.features
        host = Host(
            node=self._numbered(node),
            iptables=found.iptables,
            advertised=found.advertised,
            ipv6=found.ipv6,
            attached=found.attached,
            lacking=frozenset({*NAMES, *MEANS} - found.features),
            control_open=self._config.control == "open",
            policy=self._config.policy,
            store=elsewhere,
            spoken=self._control.spoken,
            targets=self._targets(),
            paths=self._paths(),
            keyed=self._encryption.keys is not None,
            encrypts=self._config.encrypt,
            trusted=self._config.trusted,
            salts=self._encryption.salts,
        )
        if host == self.host:
            return False
        self.node, self.host = node, host
        self.learnt.set()
        return True

    def told(self) -> bool:
        """What is known of this host without a look at it: its number, and by which ways it reaches others. Whether that is
        new."""
        before = self.host
        if before is not None:
            node = self._numbered(before.node)
            self.host = msgspec.structs.replace(before, node=node, paths=self._paths())
        return self.host != before

    def _numbered(self, node: Node) -> Node:
        """With the number that the store has given it."""
        found = self._cluster.view.nodes.get(node.name)
        return msgspec.structs.replace(node, number=found.number) if found else node

    def _as_node(self, found: HostFacts, control: tuple[int, ...]) -> Node:
        """Raises Invalid."""
        return Node(
            name=self._cluster.me,
            addresses=found.addresses,
            uplink=found.uplink,
            mtu=found.mtu,
            segment=self._config.segment,
            labels=self._config.labels,
            asn=self._config.asn,
            bgp_guards=(TTL, PASSWORD) if MD5 in found.features else (TTL,),
            instance=self._cluster.instance,
            control=control,
            policy=self._config.policy,
            boot=boot_id(),
            **self._encryption.told(found.features),
            version=__version__,
        )
