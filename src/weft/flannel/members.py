"""The networks that have a registry of flannel's: this node's part in each, and the hosts of others that are in there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from weft.alloc import subnets
from weft.base.errors import Conflict, WeftError
from weft.base.net import IPNetwork
from weft.cluster.cluster import Cluster
from weft.cluster.foreign import Foreign, Guest
from weft.datapaths import registry as drivers
from weft.datapaths.driver import Host
from weft.datapaths.options import subnet_rules
from weft.flannel import config, remembered
from weft.flannel.choice import Wish
from weft.flannel.config import Config
from weft.flannel.guests import entry_of, guests
from weft.flannel.lease import Entry
from weft.flannel.member import Member
from weft.flannel.registry import Registry, check_unshared, connect, lease_number
from weft.flannel.remembered import Memory
from weft.flannel.subnet_env import EnvFiles, former
from weft.model import Lease, Network, Node
from weft.store.protocol import Store
from weft.store.url import StoreOptions
from weft.tasks import Supervisor, backoff

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for a registry to be told that a node is gone for good."""


class Members:
    def __init__(
        self,
        cluster: Cluster,
        state: Path,
        secrets: StoreOptions,
        touch: Callable[[str, set[str]], None],
        supervisor: Supervisor,
        opened: Callable[[str, StoreOptions], Store] = connect,
    ) -> None:
        """`touch`: told the keys of foreign hosts in a network of which something else is true now."""
        self._cluster, self._view, self._state = cluster, cluster.view, state
        self._secrets, self._touch, self._supervisor, self._open = secrets, touch, supervisor, opened
        self._foreign = cluster.view.derived(Foreign)
        self.members: dict[str, Member] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unusable: dict[str, str] = {}
        """Network → why its registry cannot even be asked."""
        self._wake = asyncio.Event()
        self.host: Host | None = None
        """This host, as soon as it is known."""

    # What others ask.

    async def completed(self, network: Network) -> Network:
        """As its registry says that it is. Raises Invalid, NotFound, Conflict, Unavailable: nothing has changed."""
        if not network.flannel:
            return network
        work = f"network {network.name}: "
        others = {name: n.flannel for name, n in self._view.networks.items() if n.flannel}
        check_unshared(network.name, network.flannel, others)
        try:
            return config.completed(network, await self._config(network.flannel))
        except WeftError as error:
            text = str(error)
            raise type(error)(text if text.startswith(work) else f"{work}{text}") from error

    async def _config(self, url: str) -> Config:
        store = self._open(url, self._secrets)
        try:
            return await Registry(store, url, 0).config()
        finally:
            await store.close()

    async def acquire(self, network: Network, host: Host, data: Mapping[str, str]) -> tuple[IPNetwork, ...]:
        """This node's subnets, out of the registry, in which they are written with `data`. Raises Conflict, Exhausted,
        Unavailable."""
        if host.node.address(4) is None:
            raise Conflict(
                f"{host.node.name} has no IPv4 address on {host.node.uplink}, by which flannel's hosts know each other: "
                "give it one"
            )
        plans = subnets.plans(network, subnet_rules(drivers.subnet_options(network)))
        held = self._view.lease(network.name, self._view.me)
        entry = entry_of(network, host, (), data)
        leases = self._view.leases.get(network.name, {})
        others = [s for lease in leases.values() if lease.node != self._view.me for s in lease.subnets]
        member = self._member(network)
        wish = Wish(
            node=self._view.me,
            public=entry.host,
            held=held.subnets if held else (),
            former=member.former or former(),
            others=tuple(others),
        )
        given = await member.registry.acquire(plans, wish, entry)
        member.has_written(msgspec.structs.replace(entry, subnets=given))
        return given

    async def forget(self, node: str) -> None:
        """A node that is gone for good leaves all registries. What cannot be reached now forgets it by itself after a day."""
        known = self._view.nodes.get(node)
        for name, member in self.members.items() if known else ():
            number = lease_number(known.instance if known else "", node, name)
            try:
                await member.registry.store.revoke(number)
            except WeftError as error:
                log.warning("%s stays in flannel's registry %s for a day: %s", node, member.registry.url, error)

    def problems(self) -> Iterator[tuple[str, str]]:
        """By network."""
        yield from sorted(self._unusable.items())
        for name, member in sorted(self.members.items()):
            yield from ((name, text) for text in member.problems())

    def subnet(self) -> tuple[Network, Lease] | None:
        """The network that files for other programs are about: there can be one only, the first by name."""
        for name in sorted(self.members):
            network, lease = self._view.networks.get(name), self._view.lease(name, self._view.me)
            if network is not None and lease is not None:
                return network, lease
        return None

    # What goes on.

    def review(self) -> None:
        """After networks, leases, who runs, or this host changed."""
        for name, network in self._view.networks.items():
            if self._is_here(name):
                self._review(network)
        self._wake.set()

    def _review(self, network: Network) -> None:
        self._unusable.pop(network.name, None)
        try:
            self._member(network).want(self._wanted(network))
        except WeftError as error:  # what its connection needs is not on this host
            self._unusable[network.name] = str(error)
            return
        self._heard(network.name)

    async def run(self) -> None:
        """For ever: a task for each registry; and of networks that are gone this node's entry goes."""
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    self._wake.clear()
                    self._start(tasks)
                    await self._end()
                    await self._wake.wait()
            finally:
                for task in self._tasks.values():
                    task.cancel()
                self._tasks.clear()

    def _start(self, tasks: asyncio.TaskGroup) -> None:
        for name, member in self.members.items():
            if name not in self._tasks and self._is_here(name):
                title = f"flannel's registry of {name}"
                self._tasks[name] = tasks.create_task(self._supervisor.keep(title, member.run), name=title)
        for name, memory in remembered.everything(self._state):
            if not self._is_here(name) and f"-{name}" not in self._tasks:
                self._tasks[f"-{name}"] = tasks.create_task(self._leave(name, memory), name=f"leaving {memory.url}")

    def _is_here(self, name: str) -> bool:
        network = self._view.networks.get(name)
        return network is not None and bool(network.flannel) and drivers.of(network).flannel is not None

    async def _end(self) -> None:
        for name in [name for name in self.members if not self._is_here(name)]:
            if (task := self._tasks.pop(name, None)) is not None:
                task.cancel()
            self._tell(name, {})
            await self.members.pop(name).registry.store.close()

    async def _leave(self, name: str, memory: Memory) -> None:
        """This node's entry goes with the network, as soon as the registry can be reached."""
        delays = backoff(first=0.5, last=60.0)
        try:
            while not self._is_here(name):
                try:
                    await leave(memory, self._secrets, self._open)
                    remembered.forget(self._state, name)
                    return
                except WeftError as error:
                    log.warning("this node's entry stays in flannel's registry %s for now: %s", memory.url, error)
                    await asyncio.sleep(next(delays))
        finally:
            self._tasks.pop(f"-{name}", None)
            self._wake.set()

    def _member(self, network: Network) -> Member:
        name, number = network.name, lease_number(self._cluster.instance, self._view.me, network.name)
        if name not in self.members:
            memory = remembered.load(self._state, name)
            if memory is None or (memory.url, memory.number) != (network.flannel, number):
                memory = Memory(url=network.flannel, number=number)
                remembered.save(self._state, name, memory)
            registry = Registry(self._open(network.flannel, self._secrets), network.flannel, number)
            self.members[name] = Member(name, registry, memory, self._state, lambda: self._heard(name))
            self._heard(name)
        return self.members[name]

    def _wanted(self, network: Network) -> Entry | None:
        """This node's entry as it should be."""
        lease = self._view.lease(network.name, self._view.me)
        if lease is None or self.host is None or self.host.node.address(4) is None:
            return None
        return entry_of(network, self.host, lease.subnets, lease.data)

    def _heard(self, name: str) -> None:
        network, member = self._view.networks.get(name), self.members[name]
        if network is not None:
            entries = {key: entry for key, entry in member.entries.items() if key != member.key}
            own = self._view.lease(name, self._view.me)
            self._tell(name, dict(guests(network, entries, own.subnets if own else (), self._running(name))))

    def _running(self, name: str) -> dict[IPNetwork, Node]:
        """The other nodes whose agents run, by their subnets."""
        view = self._view
        running = (view.present.keys() & view.nodes.keys()) - {view.me}
        leases = (lease for lease in view.leases.get(name, {}).values() if lease.node in running)
        return {subnet: view.nodes[lease.node] for lease in leases for subnet in lease.subnets}

    def _tell(self, name: str, guests: Mapping[str, Guest]) -> None:
        if changed := self._foreign.tell(name, guests):
            self._touch(name, changed)


async def leave(memory: Memory, secrets: StoreOptions, opened: Callable[[str, StoreOptions], Store] = connect) -> None:
    """What this node wrote goes out of a registry. Raises WeftError."""
    store = opened(memory.url, secrets)
    try:
        await Registry(store, memory.url, memory.number).leave()
    finally:
        await store.close()


async def leave_all(state: Path, secrets: StoreOptions) -> None:
    """For good. What cannot be told now forgets this node by itself."""
    EnvFiles(state).keep({})
    for network, memory in remembered.everything(state):
        try:
            async with asyncio.timeout(PATIENCE):
                await leave(memory, secrets)
        except (WeftError, TimeoutError) as error:
            why = str(error) or f"no answer within {PATIENCE:g} s"
            log.warning("network %s: flannel's registry knows this node for a day yet: %s", network, why)
        remembered.forget(state, network)
