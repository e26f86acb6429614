"""Which blocks a node takes addresses from, and which address: its own blocks first, then a new one, then, unless the network
forbids it, a single address out of another node's block.

Pure: says what a node would have; creating the claims of the block and of the address, in one transaction with the node's
lease, lets one of those through that want the same (`weft.model.keys`). All addresses of a block are given: where each
container has a route of its own there is no network, broadcast or gateway address. Where all nodes share one link a
container has the whole subnet's prefix, so the subnet's first address and v4's last one are nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from weft.alloc import addresses, subnets
from weft.alloc.subnets import Plan
from weft.base.errors import Conflict, Exhausted, Invalid
from weft.base.names import digest
from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, contains, covers, family, host_prefix, parse_network
from weft.model import AddressRange, Lease, Network, claims, selector
from weft.model.network import REACH, SHARE

MOST_TRIED = 4096
"""New blocks that are looked at for a free address: most have one, unless a container asks for some addresses only."""
MOST_TAKEN_UP = 50
"""Blocks in one transaction when a lease was lost; what lies outside of them is routed address by address."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """`size`: prefix length of a block, by family. `strict`: nothing outside a node's own blocks. `reserved`: given to
    nobody. `pools`: the network may get more of them."""

    size: Mapping[Family, int]
    strict: bool = False
    reserved: tuple[IPNetwork, ...] = ()
    pools: bool = True


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows when it chooses. `network`: whose blocks these are. `own`: blocks it holds. `others`: those that
    others hold, with their names. `taken`: addresses with their holders. `after`: by family, the address given last. `within`:
    of these families only addresses of these ranges."""

    network: Network
    node: str
    labels: Mapping[str, str]
    rules: Rules
    own: tuple[IPNetwork, ...]
    others: Mapping[IPNetwork, str] = {}
    taken: Mapping[IPAddress, object] = {}
    after: Mapping[str, IPAddress] = {}
    within: tuple[AddressRange, ...] = ()


class Given(msgspec.Struct, frozen=True):
    """`block`: to be claimed with the address. `host`: it lies outside the node's blocks, and is routed alone."""

    address: IPAddress
    block: IPNetwork | None = None
    host: bool = False

    @property
    def needs_lease(self) -> bool:
        """Whether the node's lease changes with it."""
        return self.host or self.block is not None


# Choosing.


def choose(s: Situation, fam: Family, *, alone: bool = False) -> Given | None:
    """An address of one family. Raises Exhausted. `alone`: out of the node's own blocks or not at all (None)."""
    found = _own(s, fam)
    if found is not None or alone:
        return found
    found = fresh(s, fam)
    if found is None and not s.rules.strict:
        found = _borrowed(s, fam)
    if found is None:
        raise Exhausted(_exhausted(s, fam))
    return found


def wish(s: Situation, address: IPAddress) -> Given:
    """This address, wherever in the network it lies, also in a pool that is disabled. Raises Invalid (never in this
    network) or Conflict (not now)."""
    whole = next((n for n in s.network.subnets if contains(n, address)), None)
    if whole is None:
        listed = ", ".join(map(str, s.network.subnets))
        raise Invalid(f"{address} is outside network {s.network.name}: choose one of {listed}")
    within = [r for r in s.within if r.subnet.version == address.version]
    addresses.check_free(address, s.taken, s.rules.reserved, within)
    if any(contains(block, address) for block in s.own):
        return Given(address)
    kept = next((b for b, who in s.others.items() if who == claims.SERVICES and contains(b, address)), None)
    if kept is not None:
        raise Conflict(f"{address} is in {kept}, which is for {claims.SERVICES}: choose another, or leave it to Weft")
    if not s.rules.strict:
        return Given(address, host=True)
    block = block_of(address, s.rules)
    if block in s.others:
        why = f"network {s.network.name} has strict-affinity" if s.rules.pools else "nobody else gives addresses of it"
        raise Conflict(
            f"{address} is in block {block} of {s.others[block]}, and {why}: attach there, or choose another address"
        )
    if whole not in _pools(s, family(address)):
        raise Conflict(f"{address} is in pool {whole}, from which {s.node} may take no block: choose another address")
    return Given(address, block=block)


def _own(s: Situation, fam: Family) -> Given | None:
    """First come, first filled, so that the others empty and can be given back."""
    for block in _in_order(s.own, fam):
        if not any(covers(p.subnet, block) and p.disabled for p in s.network.pools):
            address = _first(s, block, s.after.get(str(fam)))
            if address is not None:
                return Given(address)
    return None


def fresh(s: Situation, fam: Family) -> Given | None:
    """A new block that nobody has, with a free address in it."""
    for whole in _pools(s, fam):
        plan, avoided = _plan(s, whole), [*s.own, *s.others]
        if s.within and (found := _asked(s, plan, avoided)):
            return found
        for _ in range(MOST_TRIED):
            block = subnets.find(plan, s.node, avoided)
            if block is None:
                break
            address = _first(s, block)
            if address is not None:
                return Given(address, block=block)
            avoided.append(block)  # all of it is borrowed, or reserved
    return None


def _asked(s: Situation, plan: Plan, avoided: Collection[IPNetwork]) -> Given | None:
    """The blocks that hold the beginning of a range that is asked for: elsewhere one would look in vain."""
    for first, _ in (r.ends for r in s.within if r.subnet.version == plan.whole.version):
        block = parse_network(host_prefix(first)).supernet(new_prefix=plan.node_prefix)
        if covers(plan.whole, block) and block not in avoided and (address := _first(s, block)) is not None:
            return Given(address, block=block)
    return None


def _borrowed(s: Situation, fam: Family) -> Given | None:
    """Each node begins elsewhere, so that two rarely want the same."""
    pools = _pools(s, fam)
    nodes = [block for block, holder in s.others.items() if holder != claims.SERVICES]
    blocks = [b for b in _in_order(nodes, fam) if any(covers(whole, b) for whole in pools)]
    start = int.from_bytes(digest("borrow", s.network.name, s.node)[:8], "big") % max(len(blocks), 1)
    for block in blocks[start:] + blocks[:start]:
        address = _first(s, block)
        if address is not None:
            return Given(address, host=True)
    return None


def _pools(s: Situation, fam: Family) -> list[IPNetwork]:
    """Those of which this node may have something new."""
    pools = [s.network.pool(whole) for whole in s.network.subnets if whole.version == fam]
    return [p.subnet for p in pools if not p.disabled and selector.matches(p.nodes, s.labels)]


def whole_plan(s: Situation, fam: Family) -> Plan:
    """Of a network with one subnet of each family."""
    return _plan(s, next(whole for whole in s.network.subnets if whole.version == fam))


def _plan(s: Situation, whole: IPNetwork) -> Plan:
    return plan(s.network.name, whole, s.rules)


def plan(network: str, whole: IPNetwork, rules: Rules) -> Plan:
    """How one pool is cut into blocks."""
    step, make = rules.size[family(whole)], type(whole)
    last = int(whole.broadcast_address) + 1 - (1 << whole.max_prefixlen - step)
    first = make((int(whole.network_address), step))
    reserved = tuple(subnets.merge(p for p in rules.reserved if p.version == whole.version and covers(whole, p)))
    return Plan(network=network, whole=whole, first=first, last=make((last, step)), reserved=reserved)


def _first(s: Situation, block: IPNetwork, after: IPAddress | None = None) -> IPAddress | None:
    within = [r for r in s.within if r.subnet.version == block.version]
    return addresses.search(block, s.taken, s.rules.reserved, after, within)


def _exhausted(s: Situation, fam: Family) -> str:
    name, pools = s.network.name, _pools(s, fam)
    if not pools:
        labels = ", ".join(f"{k}={v}" for k, v in s.labels.items()) or "none"
        return (
            f"network {name}: no IPv{fam} pool is for {s.node} (its labels: {labels}): `weft pool ls {name}` shows whom "
            "they are for, and which are disabled"
        )
    plans = [_plan(s, whole) for whole in pools]
    total, held = sum(plan.size for plan in plans), [b for b in s.others if any(covers(p, b) for p in pools)]
    mine = [b for b in s.own if any(covers(p, b) for p in pools)]
    borrow = "strict-affinity forbids borrowing" if s.rules.strict else "none of these has one to borrow"
    if not s.rules.pools:
        borrow = "give them back once they are empty"
    more = (
        f"add addresses with `weft pool add {name} CIDR`"
        if s.rules.pools
        else ("remove hosts that are gone with `weft node rm`, or make a larger network")
    )
    return (
        f"network {name}: no IPv{fam} address is left for {s.node}: of {total} blocks of /{s.rules.size[fam]} in "
        f"{', '.join(map(str, pools))} it has {len(mine)}, all full, others have {len(held)} and {borrow}: "
        f"detach some, or {more}"
    )


# How a network is cut.


def rules_of(
    network: Network, size: Callable[[IPNetwork], int], reserved: Iterable[IPNetwork], *, strict: bool, one_link: bool
) -> Rules:
    """`size`: prefix length of the blocks of a subnet. `one_link`: all nodes share it."""
    ends = [end for whole in network.subnets for end in (_ends(whole) if one_link else ())]
    sizes = {fam: size(whole) for fam in FAMILIES for whole in network.subnets if whole.version == fam}
    return Rules(size=sizes, strict=strict, reserved=(*reserved, *ends), pools=not one_link)


def _ends(whole: IPNetwork) -> Iterator[IPNetwork]:
    """Its own address (in v6 the subnet-router anycast address, RFC 4291 section 2.6.1), and v4's broadcast address."""
    yield parse_network(host_prefix(whole.network_address))
    if whole.version == 4:
        yield parse_network(host_prefix(whole.broadcast_address))


def block_of(address: IPAddress, rules: Rules) -> IPNetwork:
    return parse_network(host_prefix(address)).supernet(new_prefix=rules.size[family(address)])


# Leases.


def with_given(lease: Lease, given: Iterable[Given]) -> Lease:
    """What is to be routed to the node once it has these."""
    some = tuple(given)
    blocks = [*lease.subnets, *(g.block for g in some if g.block is not None)]
    hosts = [*lease.hosts, *(parse_network(host_prefix(g.address)) for g in some if g.host)]
    return _ordered(lease, blocks, hosts)


def without(lease: Lease, blocks: Collection[IPNetwork] = (), gone: Iterable[IPAddress] = ()) -> Lease:
    """Once these blocks are given back, and these addresses live elsewhere or nowhere."""
    left = {parse_network(host_prefix(address)) for address in gone}
    return _ordered(lease, [b for b in lease.subnets if b not in blocks], [h for h in lease.hosts if h not in left])


def outside(lease: Lease, address: IPAddress) -> bool:
    """Whether an address is in none of the node's blocks."""
    return not any(contains(block, address) for block in lease.subnets)


def empty(lease: Lease, used: Iterable[IPAddress]) -> list[IPNetwork]:
    """Its blocks in which no address is in use on the node."""
    some = tuple(used)
    return [block for block in lease.subnets if not any(contains(block, address) for address in some)]


def take_up(
    lease: Lease, claimed: Mapping[IPNetwork, str], used: Collection[IPAddress], *, lone: bool = True
) -> tuple[Lease, tuple[IPNetwork, ...], tuple[IPNetwork, ...]]:
    """A lease that was lost, out of what the node still has: the lease, claims it rests on, claims of no use.

    `lease`: empty. `claimed`: the network's blocks, with their holders. `used`: its containers' addresses. `lone`: whether
    those outside its blocks can be routed to it alone.
    """
    mine = _in_order([block for block, holder in claimed.items() if holder == lease.node])
    filled = [block for block in mine if any(contains(block, address) for address in used)][:MOST_TAKEN_UP]
    idle = [block for block in mine if not any(contains(block, address) for address in used)][:MOST_TAKEN_UP]
    hosts = [parse_network(host_prefix(address)) for address in used] if lone else []
    return _ordered(lease, filled, hosts), tuple(filled), tuple(idle)


def _ordered(lease: Lease, blocks: Iterable[IPNetwork], hosts: Iterable[IPNetwork]) -> Lease:
    held = _in_order(set(blocks))
    alone = [host for host in set(hosts) if not any(covers(block, host) for block in held)]
    return msgspec.structs.replace(lease, subnets=tuple(held), hosts=tuple(_in_order(alone)))


def _in_order(prefixes: Iterable[IPNetwork], fam: Family | None = None) -> list[IPNetwork]:
    some: Sequence[IPNetwork] = [p for p in prefixes if fam in (None, p.version)]
    return sorted(some, key=lambda p: (p.version, int(p.network_address), p.prefixlen))


# Checks.


def check(network: Network, block_prefix: Callable[[IPNetwork], int], reserved: Iterable[IPNetwork]) -> None:
    """Whether blocks can be cut from the network's subnets. Raises Invalid."""
    if network.home != network.name:
        return _check_sharing(network)
    for whole in network.subnets:
        length = block_prefix(whole)
        if length < whole.prefixlen:
            raise Invalid(
                f"network {network.name}: a block of /{length} is larger than {whole}: choose a larger subnet, or "
                f"block-size{'-v6' if whole.version == 6 else ''} of {whole.prefixlen} or more"
            )
    for prefix in reserved:
        if not any(covers(whole, prefix) for whole in network.subnets):
            raise Invalid(
                f"network {network.name}: reserve={prefix} is not inside {' or '.join(map(str, network.subnets))}: "
                "reserve only what is part of the network"
            )
    return None


def _check_sharing(network: Network) -> None:
    """All that makes a data path is the other network's. Whom it reaches is its own matter."""
    more = sorted(network.options.keys() - {SHARE, REACH})
    wrong = [f"option {name}" for name in more]
    wrong += ["--mtu"] * (network.mtu is not None) + ["--internal"] * network.internal + ["pools"] * bool(network.pools)
    if wrong:
        raise Invalid(
            f"network {network.name} shares {network.home}'s data path, so {', '.join(wrong)} cannot be its own: "
            f"leave that out, or set it for {network.home}"
        )
