"""What a policy says, in one form for all the dialects in which users write it.

NetworkPolicy (networking.k8s.io/v1), ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) and Weft's own policies are
read into this form (`weft.policy.read`), and everything else works from it: what is compiled into rules, what `explain`
says, and which connections end when policy changes.

Tiers are asked in their order. Of a tier those policies have a say that select the endpoint in that direction, in their
order; their rules are tried one by one. `allow` and `deny` are final, `pass` goes on with the next tier, `log` with the
next rule. If none of the rules decides, the tier's default does; a tier none of whose policies selects the endpoint is
skipped, and after the last tier everything is allowed. A packet arrives if the sender's egress and the receiver's ingress
allow it."""

from __future__ import annotations

from typing import Literal

import msgspec

from weft.base.net import IPAddress, IPNetwork
from weft.model.identity import DEFAULT_NAMESPACE as DEFAULT_NAMESPACE
from weft.model.identity import NamedPort as NamedPort

Action = Literal["allow", "deny", "pass", "log"]
Direction = Literal["ingress", "egress"]
DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")

NAME_LABEL = "kubernetes.io/metadata.name"
"""Of every namespace: its name."""


class PortRange(msgspec.Struct, frozen=True, order=True):
    """From `first` to `last`, both included."""

    first: int
    last: int


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What packets are meant. `protocol`: "tcp", "udp", "sctp", "icmp", "icmpv6", another name or a number as text; "":
    any. `ports`: of the destination, numbers or names; (): all. `icmp_type`, `icmp_code`: None for any."""

    protocol: str = ""
    ports: tuple[PortRange | str, ...] = ()
    icmp_type: int | None = None
    icmp_code: int | None = None


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints, by what is known of them; all that is said has to hold. `selector`: on their labels; `namespaces`: on
    those of their namespaces, None: of any or no namespace (`weft.policy.selector` has the grammar; "" selects all).
    `networks`: the names of those that they are in; (): any."""

    selector: str = ""
    namespaces: str | None = None
    networks: tuple[str, ...] = ()


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The other end of a connection; all that is said has to hold, and something is said. `cidrs`: in one of these, whoever
    has the address; `excepts`: but in none of these. `nodes`: an address of a node with such labels. `sets`: in a network
    set with such labels."""

    who: Who | None = None
    cidrs: tuple[IPNetwork, ...] = ()
    excepts: tuple[IPNetwork, ...] = ()
    nodes: str | None = None
    sets: str | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`peers`, `traffic`: one of each has to fit; () fits all. `no_peers`, `no_traffic`: none may fit. (A rule that can fit
    nothing is left out by whoever reads a policy.)"""

    action: Action
    name: str = ""
    peers: tuple[Peer, ...] = ()
    no_peers: tuple[Peer, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    no_traffic: tuple[Traffic, ...] = ()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`id`: unique in the cluster, "KIND/NAMESPACE/NAME" in lower case ("policy//NAME" where it has no namespace), as `weft
    policy ls` shows it. `kind`: of the document. `subject`: whose traffic it is about; None: no endpoint's. `hosts`: a
    selector on nodes' labels whose own traffic it is about; None: no node's. `order`: lower ones come first; those without
    come last, by `id`. `ingress`, `egress`: None where it has no say in that direction. `document`: what the user wrote, as
    JSON."""

    id: str
    kind: str
    name: str
    namespace: str = ""
    tier: str = "default"
    order: float | None = None
    subject: Who | None = None
    hosts: str | None = None
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None
    document: str = ""

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        return self.ingress if direction == "ingress" else self.egress


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """`default`: what becomes of a packet that one of its policies could have decided on, and none did."""

    name: str
    order: float
    default: Literal["deny", "pass"] = "deny"
    labels: dict[str, str] = {}


TIERS: tuple[Tier, ...] = (
    Tier(name="isolation", order=0, default="pass"),
    Tier(name="admin", order=1_000, default="pass"),
    Tier(name="default", order=1_000_000, default="deny"),
    Tier(name="baseline", order=10_000_000, default="pass"),
)
"""Those that are always there."""


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A group of endpoints. One of which there is no record has no labels but its name."""

    name: str
    labels: dict[str, str] = {}

    @property
    def all_labels(self) -> dict[str, str]:
        return {**self.labels, NAME_LABEL: self.name}


class NetworkSet(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses outside that have labels, so that rules can select them. `namespace`: "" for all of them."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    cidrs: tuple[IPNetwork, ...] = ()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What policy has to know of an endpoint, wherever it is."""

    id: str
    name: str
    network: str
    node: str
    addresses: tuple[IPAddress, ...]
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = {}
    ports: tuple[NamedPort, ...] = ()
