"""Whether what goes from port to port of a bridge is shown to the rules for packets (br_netfilter)."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class BridgeFilter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Packets that the bridge `dev` switches pass the rules of nftables' families ip, ip6 and inet, and of iptables, and
    conntrack, as if they were routed. `ipv4`, `ipv6`: these (read back, it may be one alone). A bridge without one pays
    nothing for those that have it, unless the namespace's sysctl asks for all. Ownership mark: it is on a bridge of ours."""

    kind: ClassVar[str] = "bridge-filter"

    dev: str
    ipv4: bool = True
    ipv6: bool = True
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("bridge-filter", self.ns, self.dev)
