"""What a data path is: a handful of pure functions that answer what this host needs.

    network    for the network as such: devices, chains, the gateway's address
    peer       for another node that holds a lease: a route, a neighbour, an FDB entry
    endpoint   for a container on this host
    reached    how the host reaches it, for ports and addresses of the host that lead to it; None where it does not
    gates      where its packets are asked who may talk to whom
    balancer   where packets to virtual addresses of services are translated; None where there are none

Where containers are known by their locations instead of leases (`KnownBy.LOCATIONS`), it has instead of `peer`

    segment    for the network, as long as a container of it is on this host
    location   for a container on another host, as long as one of the network is on this

Each is asked alone and answers alone, so a change costs what changed. They yield kernel objects, and a `Problem` (a
line with the way out) for what cannot be had. What else others need to know of a data path it says in its `Driver`. To
add one, write one module with a `DRIVER` and name it in `registry` (docs/adr/0024-drivers.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from weft.base.net import Family, IPAddress, IPNetwork
from weft.datapaths.change import Change
from weft.datapaths.options import CommonOptions
from weft.datapaths.traits import Addresses, InFlannel, KnownBy, Switched, WayOut
from weft.hoststate import HOST, Bridge, Contribution, Link, Object, Sysctl, Tap, Tun, Veth, Vlan, Vxlan
from weft.model import Endpoint, Lease, Location, Network, Node
from weft.model.network import OptionValue

FLOWTABLE, PROGRAMS = MEANS = "flowtable", "tcx"
"""What repeats for open connections what rules decided (`weft.datapaths._short`), where the kernel has it (names of `weft
doctor`)."""
LOOPBACK = "lo"
LEAST_V6_MTU = 1280
"""RFC 8200 section 5."""
USUAL_MTU = 1500
"""Of Ethernet (RFC 894)."""


class Learnt(msgspec.Struct, frozen=True):
    """What a target besides the kernel says that this host is there. `facts`: by names that are the target's; none while
    nothing is known, and `why`."""

    facts: Mapping[str, str] = {}
    why: str = ""


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """How packets to another node go now, as probes of both ends found it (`weft.paths`).

    `way`: "kernel", in the kernel's own tunnel; "sleeve", in datagrams of a program; "relay", as sleeve, by the node `via`,
    since the two do not reach each other. `mtu`: the largest packet of a container that is known to pass; 0: not known."""

    way: Literal["kernel", "sleeve", "relay"] = "kernel"
    via: str = ""
    mtu: int = 0


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """This host: its node, and what the agent has learnt about it.

    `iptables`: the (family, backend) pairs whose filter table has a FORWARD chain, e.g. {(4, "nft")}. `advertised`: the
    devices that take router advertisements (sysctl accept_ra; RFC 4861 section 6.3), for example the uplink. `ipv6`:
    whether its kernel speaks IPv6 at all. `attached`: the subnets that it is on, each with its device. `lacking`: what its
    kernel cannot do, of the features that `weft doctor` names; the means of the short way, until they have been tried out.
    `control_open`: its containers may reach what controls the
    cluster (the agent's setting `control`). `store`: addresses and TCP ports of the store, where they are not this host's
    own. `spoken`: UDP ports at which hosts of the cluster speak to each other. `targets`: what the targets besides the kernel
    say of it, by their names (`weft.targets.table`). `paths`: to other nodes, by their names, where drivers have more than
    one; one that is not in there is reached by the kernel's tunnel only.
    `keyed`: it has the mesh secret, of which keys are made. `encrypts`: networks that are made here are encrypted unless they
    say otherwise. `trusted`: subnets whose hosts need not encrypt what they send each other. `salts`: what keys of ESP are
    made of by which others may send to it."""

    node: Node
    iptables: frozenset[tuple[int, str]] = frozenset()
    advertised: frozenset[str] = frozenset()
    ipv6: bool = True
    attached: frozenset[tuple[str, IPNetwork]] = frozenset()
    lacking: frozenset[str] = frozenset(MEANS)
    control_open: bool = False
    store: frozenset[tuple[IPAddress, int]] = frozenset()
    spoken: tuple[int, ...] = ()
    policy: Literal["nftables", "iptables"] = "nftables"
    targets: Mapping[str, Learnt] = {}
    paths: Mapping[str, Path] = {}
    keyed: bool = False
    encrypts: bool = False
    trusted: tuple[IPNetwork, ...] = ()
    salts: tuple[str, ...] = ()


class Site(msgspec.Struct, frozen=True):
    """One network on this host: what all functions know. `lease` is this node's own; where nodes hold
    none, or blocks of one link that all share, it is all of the network, and nothing that is kept anywhere."""

    host: Host
    network: Network
    options: Any
    lease: Lease

    @property
    def carried(self) -> int:
        """The largest packet that the hosts of the network are sure to carry. Flannel's do not say what theirs do, so more
        than what is usual is sent only where the network's MTU says so."""
        mtu = self.host.node.mtu
        return min(mtu, USUAL_MTU) if self.network.flannel else mtu


class Problem(msgspec.Struct, frozen=True):
    """What cannot be had here, and the way out, in one line."""

    text: str


Answer = Iterator[Object | Problem]


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """How this host itself reaches a container: by the device `dev`, at `targets`, at most one address of each family.
    `subnets`: those on that device whose addresses answer each other, or themselves, without passing the host."""

    dev: str
    targets: tuple[IPAddress, ...]
    subnets: tuple[IPNetwork, ...]


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A place that packets of a container pass in netfilter's hook `forward`, and where policy is asked therefore. `ns`:
    the namespace. `addresses`: the container's, as they are seen there. `bridge`: on which its interface is a port there;
    "" where it is on none. `device`: by which the host reaches it there."""

    ns: str = HOST
    addresses: tuple[IPAddress, ...]
    bridge: str = ""
    device: str


class Balancer(msgspec.Struct, frozen=True, kw_only=True):
    """Where packets of a network's containers on this host pass, so that virtual addresses of services are translated there.

    `ns`: the namespace. `bridge`: whose ports are the containers' there, which then answer each other without passing the
    host; "" where each is alone with it. `carrier`: the device that has the virtual addresses as its own there, since
    containers ask their link for them; "" where containers route to the host what is on no link of theirs. `device`: by
    which the host itself sends to the network, which says what source its packets have. `linked`: the carrier has the routes
    to the network's subnets anyway."""

    ns: str = HOST
    bridge: str = ""
    carrier: str = ""
    device: str = ""
    linked: bool = False


def _no_gates(_network: Network, _endpoint: Endpoint) -> tuple[Gate, ...]:
    return ()


def _no_parents(_host: Host, _options: Any) -> tuple[str, ...]:
    return ()


def _no_gateways(_network: Network, _options: Any) -> tuple[IPAddress, ...]:
    return ()


def _no_ways(_site: Site) -> tuple[str, ...]:
    return ()


def _not_reached(_site: Site, _endpoint: Endpoint) -> Reached | None:
    return None


def _not_balanced(_site: Site) -> Balancer | None:
    return None


def nothing(*_: object) -> Answer:
    """What a data path answers that needs nothing for this."""
    yield from ()


def _no_data(_host: Host, _network: Network, _options: Any) -> dict[str, str]:
    return {}


def _no_table(_lease: Lease) -> str:
    return ""


def _no_claims(_options: Any) -> tuple[tuple[str, str], ...]:
    return ()


def _no_refusal(_host: Host, _network: Network, _options: Any) -> str:
    return ""


def _never(_options: Any, _me: Node, _node: Node, _family: Family) -> bool:
    return False


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """An option that, left out, is given the smallest number from `first` on that no other network has claimed. `claim`:
    what its claims begin with, "vni/". `but`: numbers that are left to networks of other drivers. `needed`: whether it means
    anything, with these options. The options' own default only says what is meant where a record has no number."""

    option: str
    claim: str
    first: int
    last: int
    but: frozenset[int] = frozenset()
    needed: Callable[[Any], bool] = lambda _options: True


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """What a data path says of itself (all that others know of it), and its functions (see above)."""

    name: str
    """What `--driver` takes."""
    summary: str
    """One line for lists."""
    options: type[CommonOptions]
    """What `-O` takes."""
    addresses: Addresses
    """How containers get theirs."""
    known_by: KnownBy
    """What other hosts know its containers by."""
    switched: Switched
    """How far containers' frames go."""
    way_out: WayOut = WayOut()
    """By what containers send to outside."""
    features: tuple[str, ...] = ()
    """What the kernel must be able to do (names of `weft doctor`), whatever the options."""
    daemons: tuple[str, ...] = ()
    """Programs that the agent keeps running for it (names of `weft doctor`)."""
    changes: Mapping[str, Change] = {}
    """What fields of its networks' records can be changed, where that is not as with all others (`change.OF_NETWORK`)."""
    targets: tuple[str, ...] = ()
    """What it writes to besides this host's kernel (names of `weft.targets`)."""
    numbered: Numbered | None = None
    flannel: InFlannel | None = None
    """How it looks to flannel's hosts; its options are `FlannelOptions` then."""
    passed: bool = True
    """Whether containers' packets pass their host, whose ports, rules and limits can concern them."""
    in_host: bool = False
    """Whether its containers live in the host's own network namespace, where nothing is made for them."""
    interface: Callable[[Node], str] = lambda _node: ""
    """What containers of a node have in place of an interface that would be made; "" where one is made."""
    linked: bool = False
    """Whether the network's subnets are on a link of each host that has containers of it, though no host routes for it."""
    own_mac: bool = True
    """Whether containers' interfaces have MAC addresses of their own."""
    exposes: bool = False
    """Whether a host can have an address of the network on its bridge (`Endpoint.of_host`)."""
    several_ways: Callable[[Network], bool] = lambda _: False
    """Whether packets between two hosts have more than one way, of which these choose (`Host.paths`)."""

    network: Callable[[Site], Answer]
    peer: Callable[[Site, Node, Lease], Answer] = nothing
    endpoint: Callable[[Site, Endpoint], Answer]
    host_end: Callable[[Endpoint], str] = lambda endpoint: endpoint.host_interface
    """What the other end of a container's interface is called on its host."""
    reached: Callable[[Site, Endpoint], Reached | None] = _not_reached
    gates: Callable[[Network, Endpoint], tuple[Gate, ...]] = _no_gates
    """Of the network whose data path it is."""
    balancer: Callable[[Site], Balancer | None] = _not_balanced
    also: Callable[[Site, Endpoint, tuple[IPAddress, ...]], Answer] = nothing
    """That the container may send from further addresses of its own by this interface."""
    ways: Callable[[Site], tuple[str, ...]] = _no_ways
    """Devices by which packets for the network's containers come from other hosts, whose containers' they are."""
    parents: Callable[[Host, Any], tuple[str, ...]] = _no_parents
    """The devices of the host that carry containers' interfaces: first one that has to be there, last the one that interfaces
    of one driver only can be on."""
    gateways: Callable[[Network, Any], tuple[IPAddress, ...]] = _no_gateways
    """Next hops that are no host's, but those of a network that is there already."""
    segment: Callable[[Site], Answer] = nothing
    location: Callable[[Site, Node, Location], Answer] = nothing

    lease_data: Callable[[Host, Network, Any], dict[str, str]] = _no_data
    """What peers must know of this host, by key."""
    table: Callable[[Lease], str] = _no_table
    """Where a cloud's router carries packets between hosts: the table by which those of the lease's holder go."""
    claims: Callable[[Any], tuple[tuple[str, str], ...]] = _no_claims
    """From the options: (key, what it is) pairs that no other network may have."""
    fixed: Mapping[str, Callable[[Host, Mapping[str, OptionValue]], OptionValue]] = {}
    """Options that, left out, are for the whole network what they are on the host where it is made, given those that it has by
    then, and are written down in its record."""
    refusal: Callable[[Host, Network, Any], str] = _no_refusal
    """Why this host cannot take part, or ""."""
    tunnelled: Callable[[Any, Node, Node, Family], bool] = _never
    """Where containers are known by BGP: whether, with these options, packets of a family from one node to the other go
    through a tunnel instead, for which the data path has routes of its own."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What a host has to have (names of `weft doctor`), whatever the options."""
        return self.features + self.daemons


def without_lease(network: Network, node: str) -> Lease:
    """What stands for a lease where nodes hold none: all of the network."""
    return Lease(network=network.name, node=node, subnets=network.subnets)


def gather(answer: Answer, *, ipv6: bool = True) -> Contribution:
    """What a data path answered, each once, and what every data path needs: devices of ours take no router advertisements.
    `ipv6`: as in `Host`."""
    items = tuple(answer)
    objects = {i.key: i for i in items if not isinstance(i, Problem)}.values()
    deaf = tuple(_deaf(o) for o in objects if isinstance(o, Link) and _hears_routers(o)) if ipv6 else ()
    return Contribution(
        objects=(*objects, *deaf),
        problems=tuple(i.text for i in items if isinstance(i, Problem)),
    )


def _hears_routers(link: Link) -> bool:
    """Whether the host would take router advertisements that come in by this device of ours. Without IPv6 forwarding it
    does so by default. The kernel has no IPv6, and no such sysctl, on a device with a smaller MTU."""
    return (
        link.ns == HOST
        and isinstance(link.type, Bridge | Vxlan | Veth | Tun | Tap | Vlan)
        and (link.mtu or LEAST_V6_MTU) >= LEAST_V6_MTU
    )


def _deaf(link: Link) -> Sysctl:
    """A container is no router to its host: whatever it advertises, the host's default route stays as it is."""
    return Sysctl(name=f"net/ipv6/conf/{link.name}/accept_ra", value="0", lasting=False)
