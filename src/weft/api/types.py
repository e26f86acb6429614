"""Requests and replies of the agent's API. JSON keys are stable: add, never rename. Times are Unix seconds, durations
seconds, addresses and prefixes text."""

from __future__ import annotations

from typing import Any

import msgspec

from weft.api import limits
from weft.base.errors import Invalid
from weft.base.names import MOST_LABELS, check_texts
from weft.base.net import IPAddress, IPInterface, IPNetwork
from weft.model import AddressRange, Bandwidth, BgpPeer, ExposedPort, NamedPort, Network, Pool, PublishedPort, bandwidth
from weft.model.identity import DEFAULT_NAMESPACE, check_aliases, check_labels
from weft.model.network import OptionValue
from weft.services.labels import DETAILS, others


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what the agent answers. Unknown fields are passed over: a newer agent may say more."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what the agent is asked. Unknown fields are refused: nobody is to believe that a wish was heard that was not.
    What is as it is by default is not sent, so an older agent is only asked for what it may not know where that is wished."""


class Error(Reply, frozen=True, kw_only=True):
    """`error`: a stable word (`weft.base.errors`); `message`: one line for the user."""

    error: str
    message: str


class NodeInfo(Reply, frozen=True, kw_only=True):
    """`subnets`: by network, what the node holds. `policy`: through what it enforces policy. `alive`: its agent's presence
    has not run out. Where it has, `evidence` says in a sentence what is known of the node, and `withdrawn` whether the node
    asked has no routes to it any more. `foreign`: by what a host that runs no agent is in networks of ours ("flannel"): no more
    is known of it than its addresses and subnets; "" for a node."""

    name: str
    addresses: tuple[IPInterface, ...]
    uplink: str
    mtu: int
    foreign: str = ""
    segment: str = ""
    version: str = ""
    alive: bool
    evidence: str = ""
    withdrawn: bool = False
    this: bool = False
    policy: str = "nftables"
    subnets: dict[str, tuple[IPNetwork, ...]] = {}


class LeaseInfo(Reply, frozen=True, kw_only=True):
    """`foreign`: as of `NodeInfo`."""

    node: str
    subnets: tuple[IPNetwork, ...]
    addresses: tuple[IPAddress, ...]
    alive: bool
    foreign: str = ""
    data: dict[str, str] = {}


class NetworkInfo(Reply, frozen=True, kw_only=True):
    """`pools`: conditions on some subnets. `options`: all of the driver's, as they are in force. `reaches`: the other networks
    whose containers its own can talk to; `one_sided`: where only one of two names the other. `services`: subnets for their
    virtual addresses, which no node has; told of one network only. `fast`: what its option of that name means on this node; ""
    where it says nothing special. `problems`: what this node cannot do in the network."""

    name: str
    driver: str
    subnets: tuple[IPNetwork, ...]
    pools: tuple[Pool, ...] = ()
    options: dict[str, OptionValue]
    internal: bool
    mtu: int | None
    labels: dict[str, str] = {}
    leases: tuple[LeaseInfo, ...] = ()
    endpoints: int = 0
    reaches: tuple[str, ...] = ()
    one_sided: tuple[str, ...] = ()
    services: tuple[IPNetwork, ...] = ()
    fast: str = ""
    problems: tuple[str, ...] = ()


class PoolInfo(Reply, frozen=True, kw_only=True):
    """One subnet of a network with blocks. `nodes`: a selector of those that may take blocks; "" for all. `masquerade`: its
    packets to outside get the host's address. `blocks` of `total` blocks of `block_size` (prefix length) are held;
    `addresses`: in use."""

    subnet: IPNetwork
    nodes: str
    disabled: bool
    masquerade: bool
    block_size: int
    total: int
    blocks: int
    addresses: int


class BlockInfo(Reply, frozen=True, kw_only=True):
    """`node`: the holder. `used`: addresses in use on any node, `borrowed` of these on others; `cooling`: freed just now;
    `free`: may be given."""

    block: IPNetwork
    node: str
    used: int
    borrowed: int
    cooling: int
    free: int


class IpamInfo(Reply, frozen=True, kw_only=True):
    """A network whose addresses are claimed. `blocks`: none where all hosts share one subnet. `used`, `cooling`: addresses
    of the whole network; `outside`: those in no block of the node that they live on; `services`: virtual ones. A block for
    these has no node's name."""

    network: str
    driver: str
    subnets: tuple[IPNetwork, ...]
    used: int
    cooling: int
    outside: int
    services: int = 0
    blocks: tuple[BlockInfo, ...] = ()


class Fault(Reply, frozen=True, kw_only=True):
    """What the audit of the store found. `kind`: a stable word; `subject`: an address, a block or an endpoint; `node`: ""
    where none has to do with it. `fixed`: it was put right."""

    network: str
    kind: str
    subject: str
    node: str
    text: str
    fixed: bool = False


class IpamCheck(Reply, frozen=True, kw_only=True):
    """`addresses`, `blocks`, `endpoints`: how many were looked at."""

    faults: tuple[Fault, ...]
    addresses: int
    blocks: int
    endpoints: int


class RouteInfo(Reply, frozen=True, kw_only=True):
    """Within a container. `gateway`: None for what is on the link."""

    destination: IPNetwork
    gateway: IPAddress | None = None


class SecondInterface(Reply, frozen=True, kw_only=True):
    interface: str
    mac: str
    addresses: tuple[IPInterface, ...]


class EndpointInfo(Reply, frozen=True, kw_only=True):
    """`mtu` and `routes`: of endpoints on the node that answers. `handover`: the interface's name in the host's own
    namespace, where the container's engine takes it from. `second`: the container's other interface, for
    the way out of a network that has none itself. `aliases`: its names besides `name`; `resolver`: the address at which the
    container can ask for names, "" for none."""

    id: str
    name: str
    network: str
    node: str
    container: str
    namespace: str
    interface: str
    host_interface: str
    mac: str
    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...] = ()
    mtu: int = 0
    routes: tuple[RouteInfo, ...] = ()
    labels: dict[str, str] = {}
    policy_namespace: str = DEFAULT_NAMESPACE
    named_ports: tuple[NamedPort, ...] = ()
    aliases: tuple[str, ...] = ()
    resolver: str = ""
    ports: tuple[PublishedPort, ...] = ()
    floating: tuple[IPAddress, ...] = ()
    bandwidth: Bandwidth | None = None
    spoofing: str = ""
    offload: str = ""
    owner: str = ""
    handover: str = ""
    second: SecondInterface | None = None


class EndpointCheck(Reply, frozen=True, kw_only=True):
    """`faults`: what of the endpoint or its network does not stand in the kernel on this node, a line each."""

    endpoint: EndpointInfo
    faults: tuple[str, ...] = ()


class CreateNetwork(Request, frozen=True, kw_only=True):
    network: Network

    def __post_init__(self) -> None:
        limits.check_network(self.network)


class SetNetwork(Request, frozen=True, kw_only=True):
    """What is None, or empty, stays as it is. `options`: the driver's, with their new values; `remove`: options that are to be
    as if nobody had given them. `mtu`: 0 is what each host finds out. `labels`: with their new values; `remove_labels`: labels
    that go. `driver`, `subnets`: refused where they are not as they are, with the way out. `check`: nothing is changed, it is
    only said whether it could be."""

    options: dict[str, OptionValue] = {}
    remove: tuple[str, ...] = ()
    mtu: int | None = None
    internal: bool | None = None
    labels: dict[str, str] = {}
    remove_labels: tuple[str, ...] = ()
    driver: str = ""
    subnets: tuple[IPNetwork, ...] | None = None
    check: bool = False

    def __post_init__(self) -> None:
        limits.check_options("the request", self.options)


class NetworkChange(Reply, frozen=True, kw_only=True):
    """`what`: "mtu", "internal", "labels", or an option's name. `old`, `new`: as they are in force."""

    what: str
    old: Any
    new: Any


class NetworkSet(Reply, frozen=True, kw_only=True):
    """What has changed of a network, or could be. `notes`: lines for users: what of it holds for later only."""

    network: NetworkInfo
    changes: tuple[NetworkChange, ...] = ()
    notes: tuple[str, ...] = ()


class AddPool(Request, frozen=True, kw_only=True):
    """`nodes`: a selector (`KEY=VALUE,!KEY`) of those that may take blocks from it; "" for all. `masquerade`: None is as the
    network's option says."""

    subnet: IPNetwork
    nodes: str = ""
    disabled: bool = False
    masquerade: bool | None = None


class SetPool(Request, frozen=True, kw_only=True):
    """None: as it is."""

    subnet: IPNetwork
    nodes: str | None = None
    disabled: bool | None = None
    masquerade: bool | None = None


class CheckIpam(Request, frozen=True, kw_only=True):
    """`network`: "" for all. `fix`: put right what can be."""

    network: str = ""
    fix: bool = False


class Move(Request, frozen=True, kw_only=True):
    """`target`: as in Attach, on the node that is asked."""

    target: str
    interface: str = ""

    def __post_init__(self) -> None:
        limits.check_text("target", self.target)


class Attach(Request, frozen=True, kw_only=True):
    """`target`: a pid, a namespace's path or name, a container's id or name. Empty: chosen by Weft.

    `owner`: a key of the caller's own, to detach by. `exclusive`: what is attached already is a Conflict. `definition`: what
    the network is; it is made where it is missing, and the request Invalid where it is another one. `ports`:
    of this node, to lead to it; `floating`: external addresses that are to. `ranges`: addresses of these families come
    from them only. `bandwidth`: of a direction that it leaves open, the labels `weft.bandwidth/…` say.
    `spoofing`: "allow" or "drop"; "" is as the network says. `offload`: "off" keeps its packets on the ordinary way.

    `labels`, `policy_namespace` ("": the one called "default"), `named_ports`: by which policy selects the container and
    speaks of its ports. Labels may be any text, but policy sees those only that Kubernetes would take. `aliases`: further
    names, by which containers of its network find it. `exposed`: its own ports that others are to reach, where somebody else's
    rules keep them closed (Neutron's security groups). `resolv_conf`: write /etc/netns/NAME/resolv.conf for a named namespace.

    `handover`: the engine itself moves the interface in (`EndpointInfo.handover`). Then `addresses` are all that it gets,
    `owner` is needed, `target` the path at which the namespace will be, which a second request may tell, without addresses.
    """

    target: str
    network: str
    name: str = ""
    interface: str = ""
    addresses: tuple[IPAddress, ...] = ()
    ranges: tuple[AddressRange, ...] = ()
    mac: str = ""
    labels: dict[str, str] = {}
    policy_namespace: str = ""
    named_ports: tuple[NamedPort, ...] = ()
    aliases: tuple[str, ...] = ()
    resolv_conf: bool = False
    ports: tuple[PublishedPort, ...] = ()
    exposed: tuple[ExposedPort, ...] = ()
    floating: tuple[IPAddress, ...] = ()
    bandwidth: Bandwidth | None = None
    spoofing: str = ""
    offload: str = ""
    owner: str = ""
    exclusive: bool = False
    handover: bool = False
    definition: Network | None = None

    def __post_init__(self) -> None:
        for what in ("target", "network", "name", "owner"):
            limits.check_text(what, getattr(self, what))
        limits.at_most("addresses", self.addresses, limits.ADDRESSES)
        limits.at_most("ranges", self.ranges, limits.ADDRESSES)
        limits.at_most("floating addresses", self.floating, limits.FLOATING)
        limits.check_ports(self.ports)
        limits.at_most("exposed ports", self.exposed, limits.PORTS)
        check_texts("endpoint", self.labels)
        limits.check_identity("endpoint", self.policy_namespace, self.named_ports)
        check_aliases("endpoint", self.aliases)
        if self.definition is not None:
            limits.check_network(self.definition)


class Label(Request, frozen=True, kw_only=True):
    """`labels` are set, those with the keys `remove` go; so with `named_ports` and `remove_ports`, with `aliases` and
    `remove_aliases`. `policy_namespace`: "" to leave it."""

    labels: dict[str, str] = {}
    remove: tuple[str, ...] = ()
    policy_namespace: str = ""
    named_ports: tuple[NamedPort, ...] = ()
    remove_ports: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    remove_aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_labels("endpoint", others(self.labels))
        for key in DETAILS:
            limits.check_text(f"label {key}", self.labels.get(key, ""))
        check_aliases("endpoint", self.aliases)
        if fixed := [key for key in self.labels if key.startswith(bandwidth.LABEL)]:
            raise Invalid(
                f"label {fixed[0]}: limits are set when a container is attached: detach it and attach it again"
            )
        limits.check_identity("endpoint", self.policy_namespace, self.named_ports)
        for what, several, set_, removed in (
            ("label", "labels", self.labels.keys(), self.remove),
            ("named port", "named ports", {port.name for port in self.named_ports}, self.remove_ports),
            ("alias", "aliases", set(self.aliases), self.remove_aliases),
        ):
            limits.at_most(f"{several} to remove", removed, MOST_LABELS)
            if both := [name for name in removed if name in set_]:
                raise Invalid(f"{what} {both[0][:80]} is to be set and to be removed: say one of them")


class Float(Request, frozen=True, kw_only=True):
    """`addresses`: external ones, to lead to the endpoint as well."""

    addresses: tuple[IPAddress, ...]

    def __post_init__(self) -> None:
        limits.at_most("floating addresses", self.addresses, limits.FLOATING)


class Publish(Request, frozen=True, kw_only=True):
    """`ports` of this node lead to the owner's endpoint, instead of those that do."""

    owner: str
    ports: tuple[PublishedPort, ...] = ()

    def __post_init__(self) -> None:
        limits.check_ports(self.ports)


class Expose(Request, frozen=True, kw_only=True):
    """This node is to have an address in a network itself. `addresses`: wished for, at most one of each family."""

    addresses: tuple[IPAddress, ...] = ()


class Reserve(Request, frozen=True, kw_only=True):
    """One address of this node for an endpoint to come: `address` if it is free, else any of `family`. For `seconds`
    nobody gets it but who attaches with an owner that begins with `owner`."""

    family: int
    owner: str
    address: IPAddress | None = None
    seconds: float = 60.0

    def __post_init__(self) -> None:
        limits.check_text("owner", self.owner)
        if not 0 < self.seconds <= 86_400:
            raise Invalid(f"seconds {self.seconds:g}: an address is kept for more than 0 and up to 86400")


class Reserved(Reply, frozen=True, kw_only=True):
    """`address`: with the prefix length that it has in the container."""

    address: IPInterface


class StoreStatus(Reply, frozen=True, kw_only=True):
    """`state`: "connected"; "lost"; or "refused": it answers, and is not the store of this host's cluster. Of the last two the
    `reason` is given. `revision`: of the last change taken over. `cluster`: the identity of the cluster that this host belongs
    to. `kept`: keys that a store which was put back to an earlier state lacks, and by which this node still goes."""

    url: str
    state: str
    since: float
    reason: str = ""
    revision: int = 0
    cluster: str = ""
    kept: tuple[str, ...] = ()


class Count(Reply, frozen=True, kw_only=True):
    desired: int = 0
    actual: int = 0
    failed: int = 0


class Trouble(Reply, frozen=True, kw_only=True):
    """An object that could not be brought to what is desired. `next_try`: when it is tried again."""

    object: str
    reason: str
    since: float
    attempts: int
    next_try: float


class Problem(Reply, frozen=True, kw_only=True):
    """What cannot be had, with the way out. `peer` is "" where it concerns the network on this node as such."""

    network: str
    peer: str
    text: str


class PeerStatus(Reply, frozen=True, kw_only=True):
    """`alive`, `evidence`, `withdrawn`: as of `NodeInfo`. `foreign`: as of `NodeInfo`. `way`: of packets to it, where networks
    have several (driver mesh): "kernel", "sleeve", "relay via NODE"."""

    name: str
    addresses: tuple[IPAddress, ...]
    alive: bool
    evidence: str = ""
    withdrawn: bool = False
    foreign: str = ""
    same_segment: bool
    way: str = ""


class NetworkStatus(Reply, frozen=True, kw_only=True):
    """`subnets`: this node's own in the network; empty while none could be leased."""

    name: str
    driver: str
    subnets: tuple[IPNetwork, ...]
    endpoints: int
    peers: int
    problems: int


class TunnelStatus(Reply, frozen=True, kw_only=True):
    """A tunnel that a program carries (driver udp), since the host started. `dropped`: packets, by reason. `trouble`: why it
    carries nothing."""

    device: str
    sent: int
    sent_octets: int
    received: int
    received_octets: int
    dropped: dict[str, int]
    trouble: str = ""


class FastStatus(Reply, frozen=True, kw_only=True):
    """What took a short way in one network. `flows`: at the moment, by means, "flowtable" or "cache".
    `packets`, `octets`: that programs passed on; `asked`: packets that took the ordinary way, after which it was known how to
    go on. Of the flowtable nobody counts these."""

    network: str
    flows: dict[str, int]
    packets: int
    octets: int
    asked: int


class BgpStatus(Reply, frozen=True, kw_only=True):
    """Of this node's sessions, how many there should be and are. `unknown`: of how many BIRD does not say. `restarts`: of its
    BIRD, after it had ended by itself. `reason`: why it does not run as it should."""

    sessions: int
    established: int
    unknown: int = 0
    restarts: int = 0
    reason: str = ""


class BgpSession(Reply, frozen=True, kw_only=True):
    """`kind`: of its other end: "node", "client" (a node to which this one reflects), "router". `state`: RFC 4271's, or
    "Down". `since`: when it came up or, as far as the agent has seen, went down. `received`, `filtered`, `announced`:
    prefixes. `last_error`: in BIRD's words, also of a session that is up again. `reason`, `advice`: why it is not up."""

    name: str
    kind: str
    local: IPAddress
    address: IPAddress
    asn: int
    state: str
    since: float
    received: int = 0
    filtered: int = 0
    announced: int = 0
    last_error: str = ""
    reason: str = ""
    advice: str = ""


class BgpRoute(Reply, frozen=True, kw_only=True):
    """What this node's BIRD knows. `type`: "unicast", "blackhole", "unreachable". `source`: the neighbour's name, or what of
    this node's own it is. `next_hops`: each with its device; empty where BIRD finds none on its links. `tunnelled`: the
    kernel's route is not BIRD's but Weft's own, through a tunnel."""

    prefix: IPNetwork
    type: str
    source: str
    best: bool
    since: float
    next_hops: tuple[str, ...] = ()
    bgp_next_hop: str = ""
    tunnelled: bool = False
    as_path: str = ""
    communities: tuple[str, ...] = ()
    med: int = 0


class BgpPeerInfo(Reply, frozen=True, kw_only=True):
    """As `weft.model.bgp.BgpPeer`, but of the password only whether there is one."""

    name: str
    address: IPAddress
    asn: int
    nodes: str = ""
    password: bool = False
    ttl_security: bool = False
    hold_time: int = 0
    accept: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()
    scope: str = ""
    communities: tuple[str, ...] = ()
    med: int = 0
    labels: dict[str, str] = {}


class SetBgp(Request, frozen=True, kw_only=True):
    """What is None stays as it is."""

    asn: int | None = None
    hold_time: int | None = None
    graceful_restart: int | None = None
    mesh: bool | None = None


class AddBgpPeer(Request, frozen=True, kw_only=True):
    """`replace`: also where there is one of this name."""

    peer: BgpPeer
    replace: bool = False

    def __post_init__(self) -> None:
        for what, some in (
            ("accept", self.peer.accept),
            ("announce", self.peer.announce),
            ("communities", self.peer.communities),
        ):
            limits.at_most(f"bgp peer {self.peer.name}: {what}", some, limits.PATTERNS)


class PolicyInfo(Reply, frozen=True, kw_only=True):
    """`id`: "KIND/NAMESPACE/NAME". `selector`, `namespaces`, `networks`: whom it is about; or `hosts`: which nodes. `ingress`,
    `egress`: how many rules it has; None where it has no say in that direction."""

    id: str
    kind: str
    name: str
    namespace: str
    tier: str
    order: float | None = None
    selector: str = ""
    namespaces: str | None = None
    networks: tuple[str, ...] = ()
    hosts: str | None = None
    ingress: int | None = None
    egress: int | None = None


class TierInfo(Reply, frozen=True, kw_only=True):
    """`default`: "deny" or "pass", of what none of its policies decides. `policies`: how many there are in it."""

    name: str
    order: float
    default: str
    policies: int


class NetworkSetInfo(Reply, frozen=True, kw_only=True):
    """`cidrs`: how many."""

    id: str
    name: str
    namespace: str
    labels: dict[str, str] = {}
    cidrs: int


class NamespaceInfo(Reply, frozen=True, kw_only=True):
    name: str
    labels: dict[str, str] = {}


class PolicyList(Reply, frozen=True, kw_only=True):
    """All that users wrote about policy: tiers and policies in the order in which they are asked."""

    policies: tuple[PolicyInfo, ...] = ()
    tiers: tuple[TierInfo, ...] = ()
    network_sets: tuple[NetworkSetInfo, ...] = ()
    namespaces: tuple[NamespaceInfo, ...] = ()


class PolicyDocument(Reply, frozen=True, kw_only=True):
    """`document`: as it was written."""

    id: str
    document: dict[str, Any]


class PolicySource(Request, frozen=True, kw_only=True):
    """`place`: where the document stands, for messages."""

    place: str
    document: dict[str, Any]

    def __post_init__(self) -> None:
        limits.check_text("place", self.place)


class ApplyPolicies(Request, frozen=True, kw_only=True):
    """`dry_run`: only say what would change. `wait`: until every host enforces it; else it is in the store then."""

    documents: tuple[PolicySource, ...]
    dry_run: bool = False
    wait: bool = True


class RemovePolicies(Request, frozen=True, kw_only=True):
    """`refs`: names, as `weft policy show` takes them, each of something that is there. `documents`: what they are about is
    removed where it is there. `wait`: as of `ApplyPolicies`."""

    refs: tuple[str, ...] = ()
    documents: tuple[PolicySource, ...] = ()
    dry_run: bool = False
    wait: bool = True

    def __post_init__(self) -> None:
        limits.at_most("names", self.refs, limits.REFS)
        for ref in self.refs:
            limits.check_text("name", ref)


class PolicyChange(Reply, frozen=True, kw_only=True):
    """`change`: "created", "changed", "unchanged", "removed", "missing". `before`, `after`: documents, of a dry run."""

    id: str
    change: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class PolicyChanges(Reply, frozen=True, kw_only=True):
    """`notes`: what the writer of the documents should know, a line each."""

    changes: tuple[PolicyChange, ...] = ()
    notes: tuple[str, ...] = ()


class Enforced(Reply, frozen=True, kw_only=True):
    """`faults`: what of it does not stand on this host, a line each."""

    faults: tuple[str, ...] = ()


class Status(Reply, frozen=True, kw_only=True):
    """`state`: "converged", "converging", "degraded" (some objects failed, or the store is lost), "starting".
    `healthy`: it is converged, and nothing is amiss, with other hosts neither; else `reasons` say what, a line each.
    `repairs`: how often drift was put right since the start. `why`: it is this uplink, and these addresses. `policy`: through
    what it is enforced. `means`: what this kernel has for the fast path, "flowtable", "cache" (programs at devices); `fast`:
    networks where something took it. `notes`: what is worth knowing, though nothing is amiss."""

    version: str
    node: str
    addresses: tuple[IPInterface, ...]
    uplink: str
    mtu: int
    state: str
    started: float
    store: StoreStatus
    objects: dict[str, Count]
    repairs: int
    last_repair: str
    last_resync: float
    troubles: tuple[Trouble, ...]
    problems: tuple[Problem, ...]
    peers: tuple[PeerStatus, ...]
    networks: tuple[NetworkStatus, ...]
    bgp: BgpStatus | None = None
    tunnels: tuple[TunnelStatus, ...] = ()
    why: str = ""
    policy: str = "nftables"
    notes: tuple[str, ...] = ()
    means: tuple[str, ...] = ()
    fast: tuple[FastStatus, ...] = ()
    healthy: bool = True
    reasons: tuple[str, ...] = ()


class Finding(Reply, frozen=True, kw_only=True):
    """One check of `weft doctor`. `result`: "ok", "warning" or "error"; `advice`: what to do, "" when ok. `fault`: the kind of
    docs/faults.md, "" when ok. `fix`: a command that mends it, run as root on `host`, "" where a person has to decide."""

    check: str
    result: str
    detail: str
    advice: str = ""
    fault: str = ""
    fix: str = ""
    host: str = ""


class PlanReply(Reply, frozen=True, kw_only=True):
    """`commands`: what would be done now, in order, as shell commands. Empty when converged."""

    commands: tuple[str, ...]


class Done(Reply, frozen=True, kw_only=True):
    """`what` was done, one word or name each (the removed endpoints, for instance)."""

    what: tuple[str, ...] = ()
