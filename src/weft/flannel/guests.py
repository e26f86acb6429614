"""What an entry of the registry is in Weft's words, and a node's lease in flannel's. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface

from weft.base.errors import WeftError
from weft.base.net import IPNetwork, covers
from weft.cluster.foreign import Guest
from weft.datapaths import registry as drivers
from weft.datapaths.driver import Host
from weft.flannel.lease import Entry
from weft.model import Network, Node
from weft.model.foreign import ForeignLease, ForeignNode, foreign_name

log = logging.getLogger(__name__)


def entry_of(network: Network, host: Host, held: Sequence[IPNetwork], data: Mapping[str, str]) -> Entry:
    """Of this host, which holds these subnets."""
    driver = drivers.driver(network.driver)
    assert driver.flannel is not None, f"{network.driver} is not in flannel's registry"
    public = tuple(a for fam in network.families if (a := host.node.address(fam)))
    told = driver.flannel.tell(drivers.parse_options(network), data)
    return Entry(subnets=tuple(held), public=public, type=driver.flannel.said, data=told)


def guests(
    network: Network,
    entries: Mapping[str, Entry],
    own: Sequence[IPNetwork],
    others: Mapping[IPNetwork, Node],
) -> Iterator[tuple[str, Guest]]:
    """The hosts that these are, by key. What cannot be read is left out. `own`: this node's subnets. `others`: those of Weft's
    other nodes whose agents run."""
    for key, entry in entries.items():
        try:
            yield key, _guest(network, entry, _amiss(network, entry, own, others))
        except WeftError as error:
            log.warning("'%s' in flannel's registry of network %s: passed over: %s", key[:80], network.name, error)


def _guest(network: Network, entry: Entry, amiss: str) -> Guest:
    """Raises Invalid."""
    found = drivers.of(network).flannel
    assert found is not None, f"{network.driver} is not in flannel's registry"
    name = foreign_name("flannel", entry.host)
    node = ForeignNode(name=name, addresses=tuple(map(ip_interface, entry.public)), uplink="its uplink")
    data = {} if amiss else found.hear(entry.data or {})
    lease = ForeignLease(network=network.name, node=name, subnets=entry.subnets, data=data)
    return Guest(node, lease, f"{name} is not reached: {amiss}: see to its flanneld" if amiss else "")


def _amiss(network: Network, entry: Entry, own: Sequence[IPNetwork], others: Mapping[IPNetwork, Node]) -> str:
    """Why it cannot be a peer: nobody may draw to himself by a key what is not his. "" where nothing is."""
    found = drivers.of(network).flannel
    said = found.said if found else ""
    if said and entry.type != said:
        return f"its lease has {f'BackendType {entry.type}' if entry.type else 'no BackendType'}, and this network is {said}"
    for subnet in entry.subnets:
        if not any(covers(whole, subnet) for whole in network.subnets):
            return f"its subnet {subnet} is not inside {' or '.join(map(str, network.subnets))}"
        if mine := next((s for s in own if covers(s, subnet) or covers(subnet, s)), None):
            return f"its subnet {subnet} overlaps {mine}, which is this node's"
        holder = _holder(subnet, others)
        if holder and entry.host not in (address.ip for address in holder.addresses):
            return f"its subnet {subnet} is {holder.name}'s, which runs"
    return ""


def _holder(subnet: IPNetwork, others: Mapping[IPNetwork, Node]) -> Node | None:
    """Of all of it. There may be many, so each prefix that it can be in is looked up."""
    return next((found for n in range(subnet.prefixlen + 1) if (found := others.get(subnet.supernet(n)))), None)
