"""All kinds as a real kernel has them, in the order of reading. `weft.reconcile.kinds.table` has the same."""

from __future__ import annotations

from pathlib import Path

import msgspec

from weft.kernel.kinds import address, firewall, ipvs, ovs_datapath, own_netns, sysctl, tunnel, wireguard, xfrm
from weft.kernel.kinds.bpf import Programs
from weft.kernel.kinds.bridge_filter import BRIDGE_FILTER
from weft.kernel.kinds.ipset import Ipsets
from weft.kernel.kinds.iptables import Iptables
from weft.kernel.kinds.kind import Kind
from weft.kernel.kinds.link import LINK
from weft.kernel.kinds.neighbour import FDB, NEIGHBOUR
from weft.kernel.kinds.nft import Nft
from weft.kernel.kinds.ovs import OvsPorts
from weft.kernel.kinds.route import ROUTE
from weft.kernel.kinds.routing_rule import ROUTING_RULE
from weft.kernel.kinds.shaping import QDISC, REDIRECT
from weft.kernel.kinds.sysctl import Sysctls
from weft.kernel.plumbing.secrets import Keys
from weft.tunnel.table import FOLDER


class Adapters(msgspec.Struct):
    """What lasts from one call to the next. `named`: the folder where namespaces of our own have their names; `ruled`: the
    namespaces where rules may have been made before; `tunnels`: the folder of what programs that carry tunnels go by; `keys`:
    of what is encrypted, where there are any."""

    nft: Nft
    iptables: Iptables
    sysctls: Sysctls
    named: Path
    ruled: set[str]
    ipsets: Ipsets = msgspec.field(default_factory=Ipsets)
    ovs: OvsPorts = msgspec.field(default_factory=OvsPorts)
    tunnels: Path = Path("/run/weft", FOLDER)
    programs: Programs = msgspec.field(default_factory=Programs)
    keys: Keys | None = None


def kinds(adapters: Adapters) -> dict[str, Kind]:
    """By name."""
    table = (
        own_netns.kind(adapters.named, adapters.programs.ended),
        sysctl.kind(adapters.sysctls),
        *firewall.of_nft(adapters.nft, set(adapters.ruled)),
        *firewall.of_ipset(adapters.ipsets, set(adapters.ruled)),
        *firewall.of_iptables(adapters.iptables, set(adapters.ruled)),
        BRIDGE_FILTER,
        *xfrm.kinds(adapters.keys),
        LINK,
        *wireguard.kinds(adapters.keys),
        QDISC,
        REDIRECT,
        address.kind(),
        NEIGHBOUR,
        FDB,
        *tunnel.kinds(adapters.tunnels),
        ROUTE,
        ROUTING_RULE,
        adapters.ovs.kind(),
        *ovs_datapath.kinds(),
        *ipvs.KINDS,
        *adapters.programs.kinds(),
    )
    return {kind.name: kind for kind in table}
