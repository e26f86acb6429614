"""BIRD's configuration as text, from a `Speaker`.

    own4, hosts4, floating4   static: what this host announces; own4 is also a blackhole in the kernel
    kernel4                   to the kernel, with a metric of our own: another BIRD's routes are not touched
    uplinks                   the prefixes on the links, to find out by which device a next hop is reached
    node4:NAME, router:NAME   one BGP session each; what a node may announce is listed in its session

and the same for IPv6. Sections are named after their family, so that each stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.base.net import Family, IPNetwork
from weft.bgp.plan import PlannedSession, Speaker
from weft.model.bgp import ALL, NONE, canonical

METRIC = 2048
"""Of all routes in the kernel: more than the host's own (v6: 1024), which BIRD therefore never overrules. BIRD sees no
routes but those of its metric, and one installed by itself has 32."""
PATHS = 16
"""Next hops of one route at most (ECMP)."""
RECOVERY = 30
"""Seconds that a restarted BIRD waits for its neighbours before it removes what none of them told again."""
LOG_SIZE = 1 << 20
_FLOATING = 87
"""Large community (the cluster's AS, 87, 1) marks an address outside of all networks as a floating one. Nodes know these
from the model; older versions of Weft go by this mark."""


def render(speaker: Speaker, log: str) -> str:
    """`log`: the path of BIRD's log; it keeps one older one."""
    families = speaker.families()
    lines = [*_head(speaker.router_id, log), 'protocol direct uplinks { ipv4; ipv6; interface -"weft*", "*"; }']
    for fam in families:
        lines += ["", *_statics(speaker, fam), *_functions(speaker, fam), *_kernel(speaker, fam), *_nodes(speaker, fam)]
    for session in speaker.sessions:
        lines += ["", *(_router(speaker, session) if session.router else _node(speaker, session))]
    return "\n".join(lines) + "\n"


def render_end(log: str) -> str:
    """Of a BIRD that is to take its routes out of the kernel, and to end."""
    kernels = [
        f"protocol kernel kernel{f} {{ metric {METRIC}; ipv{f} {{ import none; export none; }}; }}" for f in (4, 6)
    ]
    return "\n".join([*_head("192.0.2.1", log), *kernels]) + "\n"


def _head(router_id: str, log: str) -> Iterator[str]:
    yield "# Written by Weft, and again whenever something changes."
    yield f'log "{log}" {LOG_SIZE} "{log}.1" {{ info, remote, warning, error, auth, fatal, bug }};'
    yield f"router id {router_id};"
    yield 'timeformat protocol "%s";'
    yield 'timeformat route "%s";'
    yield f"graceful restart wait {RECOVERY};"
    yield "protocol device devices {}"


def _statics(speaker: Speaker, fam: Family) -> Iterator[str]:
    for name, prefixes in (("own", speaker.blocks), ("hosts", speaker.hosts), ("floating", speaker.floating)):
        yield f"protocol static {name}{fam} {{"
        yield f"  ipv{fam};"
        yield from (f"  route {p} blackhole;" for p in prefixes if p.version == fam)
        yield "}"


def _functions(speaker: Speaker, fam: Family) -> Iterator[str]:
    yield f"function tunnelled{fam}() {{"
    for tunnel in speaker.tunnels:
        if tunnel.subnets[0].version == fam:
            subnets = ", ".join(f"{s}+" for s in tunnel.subnets)
            yield f"  if net ~ [ {subnets} ] && bgp_next_hop ~ [ {', '.join(map(str, tunnel.next_hops))} ] then return true;"
    yield "  return false;"
    yield "}"
    ours = " || ".join(f'proto = "{name}{fam}"' for name in ("own", "hosts", "floating"))
    yield f"function ours{fam}() {{ return {ours}; }}"
    yield f'function theirs{fam}() {{ return source = RTS_BGP && proto ~ "node{fam}:*"; }}'


def _kernel(speaker: Speaker, fam: Family) -> Iterator[str]:
    """Routes of the host itself are looked at only to find the way to routers that are not on a link."""
    distant = [str(s.remote) for s in speaker.sessions if s.router and not s.on_link and s.family == fam]
    length = 32 if fam == 4 else 128
    learnt = ", ".join(f"{address}/{length}-" for address in distant)
    yield f"filter to_kernel{fam} {{"
    yield f'  if proto = "own{fam}" then accept;'
    yield f"  if source = RTS_BGP && dest != RTD_UNREACHABLE && !tunnelled{fam}() then accept;"
    yield "  reject;"
    yield "}"
    yield f"protocol kernel kernel{fam} {{"
    yield f"  metric {METRIC};"
    yield "  persist;"
    yield "  graceful restart;"
    yield f"  merge paths on limit {PATHS};"
    if distant:
        yield "  learn;"
    yield f"  ipv{fam} {{ import {f'where net ~ [ {learnt} ]' if distant else 'none'}; export filter to_kernel{fam}; }};"
    yield "}"


def _nodes(speaker: Speaker, fam: Family) -> Iterator[str]:
    """What the sessions with other nodes have in common. `told_of_all`: what a reflector may tell: of each node what is that
    node's, with its address as the next hop."""
    if any(s.reflects and s.family == fam for s in speaker.sessions):
        yield f"function told_of_all{fam}() {{"
        yield "  case bgp_next_hop {"
        yield from (
            f"    {o.next_hop} : return {_among(o.prefixes)};" for o in speaker.origins if o.next_hop.version == fam
        )
        yield "    else: return false;"
        yield "  }"
        yield "}"
    yield f"filter to_nodes{fam} {{"
    if speaker.cluster_id:
        yield f"  if theirs{fam}() then accept;"
    yield f'  if proto = "floating{fam}" then bgp_large_community.add(({speaker.settings.asn}, {_FLOATING}, 1));'
    yield f"  if ours{fam}() then accept;"
    yield "  reject;"
    yield "}"


def _node(speaker: Speaker, session: PlannedSession) -> Iterator[str]:
    """The next hop is the node that has the containers, whoever tells. The import table keeps what was told as it was told:
    when the model allows something else, nobody has to be asked to tell everything again. What is not believed is kept as
    well, to be counted."""
    fam = session.family
    yield f"protocol bgp '{session.name}' {{"
    yield "  multihop 1;" if session.ttl_security else "  multihop;"
    yield from _session(speaker, session, speaker.settings.hold_time)
    if session.kind == "client" and session.asn == speaker.asn:
        yield "  rr client;"
    if speaker.cluster_id and session.asn == speaker.asn:
        yield f"  rr cluster id {speaker.cluster_id};"
    yield f"  ipv{fam} {{"
    yield "    import table on;"
    yield "    import keep filtered on;"
    yield f"    import {_from_node(session)};"
    yield f"    export filter to_nodes{fam};"
    yield "    gateway recursive;"
    yield "    next hop keep on;"
    yield "  };"
    yield "}"


def _from_node(session: PlannedSession) -> str:
    if session.reflects:
        return f"where told_of_all{session.family}()"
    if not session.announces:
        return "none"
    return f"where bgp_next_hop = {session.remote} && {_among(session.announces)}"


def _among(prefixes: Iterable[IPNetwork]) -> str:
    return f"net ~ [ {', '.join(map(str, prefixes))} ]"


def _router(speaker: Speaker, session: PlannedSession) -> Iterator[str]:
    peer, fam = session.router, session.family
    assert peer is not None
    yield f"protocol bgp '{session.name}' {{"
    yield "  direct;" if session.on_link else "  multihop;"
    yield from _session(speaker, session, peer.hold_time or speaker.settings.hold_time)
    yield f"  ipv{fam} {{"
    yield f"    import {_patterns(peer.accept)};"
    if peer.announce == NONE:
        yield "    export none;"
    else:
        yield "    export filter {"
        yield from (f"      {line}" for line in _to_router(session, speaker))
        yield "    };"
    if session.asn != speaker.asn:
        yield "    next hop self;"
    yield "  };"
    yield "}"


def _to_router(session: PlannedSession, speaker: Speaker) -> Iterator[str]:
    peer, fam = session.router, session.family
    assert peer is not None
    everything = f"ours{fam}() || theirs{fam}()" if peer.scope == "cluster" else f"ours{fam}()"
    yield f"if !({everything}) then reject;"
    if peer.scope == "cluster":
        yield f"if dest = RTD_UNREACHABLE && !tunnelled{fam}() then reject;"
    if peer.announce != ALL:
        yield f"if !(net ~ [ {', '.join(map(canonical, peer.announce))} ]) then reject;"
    yield f"bgp_large_community.delete([({speaker.settings.asn}, {_FLOATING}, 1)]);"
    yield f"bgp_med = {peer.med};"
    if peer.scope == "cluster":
        yield f"if theirs{fam}() then bgp_med = {peer.med + 100};"
    for community in peer.communities:
        numbers = [str(int(number)) for number in community.split(":")]
        kind = "bgp_community" if len(numbers) == 2 else "bgp_large_community"
        yield f"{kind}.add(({', '.join(numbers)}));"
    yield "accept;"


def _session(speaker: Speaker, session: PlannedSession, hold_time: int) -> Iterator[str]:
    """`strict bind`: only this address, so that others may use port 179 of others. What a neighbour's silence means is
    told by the hold time alone, and it withdraws; graceful restart is for a speaker that went away and said nothing."""
    yield f"  local {session.local} as {speaker.asn};"
    yield f"  neighbor {session.remote} as {session.asn};"
    yield "  strict bind yes;"
    if session.password:
        yield f'  password "{session.password}";'
    if session.ttl_security:
        yield "  ttl security on;"
    if session.passive:
        yield "  passive;"
    yield f"  hold time {hold_time};"
    yield "  connect delay time 1;"
    yield "  connect retry time 5;"
    yield "  error wait time 1, 10;"
    yield "  long lived graceful restart off;"
    if speaker.settings.graceful_restart:
        yield "  graceful restart on;"
        yield f"  graceful restart time {speaker.settings.graceful_restart};"
    else:
        yield "  graceful restart off;"


def _patterns(patterns: Iterable[str]) -> str:
    chosen = tuple(patterns)
    if chosen in (ALL, NONE):
        return chosen[0]
    return f"where net ~ [ {', '.join(map(canonical, chosen))} ]"
