"""Rules that an earlier version of Weft left, which have no marks, become this version's without a moment without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import lab
from support.hoststates import keyed
from weft.datapaths import guard
from weft.datapaths.driver import gather
from weft.datapaths.registry import driver
from weft.hoststate import IptablesChain, Key, NftChain, Object
from weft.kernel.plumbing.nfnl import Nftables
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Change, Op
from weft.reconcile.reconciler import key_of
from weft.reconcile.render import script

REPLACED = ("nft-chain", "", "bridge weft", "advertisements")
"""By what a bridge's port takes of its container, which is made before any port is."""
FORMER = Path(__file__).parent / "former_rules.sh"
"""A VXLAN network on a host where iptables is in use, as the version before rules had marks made it."""


def wanted() -> dict[Key, Object]:
    """The same by this version."""
    iptables = frozenset({(4, "nft"), (6, "nft")})
    site = lab.site(lab.network("vxlan", families=(4, 6)), lab.node("node-1"), iptables=iptables)
    peer, used = lab.node("node-2"), driver("vxlan")
    contributions = [
        gather(used.network(site)),
        gather(guard.known_node(site.host.node, peer)),
        gather(used.peer(site, peer, lab.lease(site.network, peer))),
    ]
    objects = (obj for contribution in contributions for obj in contribution.objects)
    return keyed(*(obj for obj in objects if obj.kind.startswith(("nft-", "iptables-")) and not obj.ns))


@pytest.fixture
def upgraded(bench: Any) -> Any:
    bench.netns.run("bash", "-euc", "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP")
    bench.netns.run("bash", "-eu", str(FORMER))
    former = bench.read().objects  # and nothing of what came later
    bench.desired |= {key: obj for key, obj in wanted().items() if key in former}
    return bench


def generation() -> int:
    with Nftables() as nftables:
        found = nftables.generation()
    assert found is not None
    return found


def test_all_chains_are_replaced_at_once(upgraded: Any) -> None:
    ops: tuple[Op, ...] = plan(upgraded.desired, upgraded.read(), {""}).ops
    assert {type(op.new) for op in ops if isinstance(op, Change)} == {NftChain, IptablesChain}
    gone = [op for op in ops if not isinstance(op, Change)]
    assert {key_of(op) for op in gone} <= {REPLACED}, "sets and their elements are right as they are"
    nft = [op for op in ops if isinstance(op, Change) and isinstance(op.new, NftChain)]
    assert {op.new.key for op in nft} == {key for key in upgraded.desired if key[0] == "nft-chain"}
    before = generation()
    assert upgraded.kernel.apply(nft) == []
    assert generation() == before + 1, "one transaction: no packet has met an empty chain"
    assert upgraded.kernel.apply([op for op in ops if op not in nft]) == []
    assert upgraded.converged(), upgraded.difference()
    assert plan(upgraded.desired, upgraded.read(), {""}).ops == ()


def test_what_is_not_wanted_any_more_goes(upgraded: Any) -> None:
    upgraded.desired.clear()
    assert upgraded.kernel.apply(plan({}, upgraded.read(), {""}).ops) == []
    left = upgraded.netns.run("nft", "list", "ruleset")
    assert "weft" not in left and "WEFT" not in left and "hook forward" in left


LEFT = """
nft add table ip weft
nft 'add map ip weft old { type ipv4_addr : verdict; }'
nft 'add chain ip weft here; add rule ip weft here accept'
nft 'add chain ip weft base { type filter hook input priority 0; }'
nft 'add rule ip weft base ip saddr vmap @old; add rule ip weft base jump here'
nft add table inet weft
nft 'add set inet weft older { type inet_service; }'
nft 'add chain inet weft z; add chain inet weft a; add rule inet weft a tcp dport @older goto z'
for tool in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do
    for where in 'raw PREROUTING' 'mangle OUTPUT' 'nat POSTROUTING' 'filter INPUT'; do
        set -- $where
        $tool -t $1 -N WEFT-OLD
        $tool -t $1 -N WEFT-ZZZ
        $tool -t $1 -A WEFT-ZZZ -j ACCEPT
        $tool -t $1 -A WEFT-OLD -j WEFT-ZZZ
        $tool -t $1 -A $2 -j WEFT-OLD
        $tool -t $1 -A $2 -j ACCEPT
    done
done
"""


@pytest.mark.parametrize("pasted", [False, True], ids=["by the agent", "by a pasted plan"])
def test_left_chains_and_sets_of_any_name_go_and_others_stay(bench: Any, pasted: bool) -> None:
    bench.netns.run("bash", "-euc", LEFT)
    bench.made(NftChain(name="mine"))
    found = bench.read().objects
    assert sum(obj.kind == "iptables-chain" for obj in found.values()) == 2 * 4 * 4
    ops = plan(bench.desired, bench.read(), {""}).ops
    if pasted:
        bench.netns.run("bash", "-euc", "\n".join(script(ops)))
    else:
        assert bench.kernel.apply(ops) == []
    assert bench.holds(NftChain(name="mine"))
    left = bench.netns.run("nft", "list", "ruleset")
    assert left.count("accept") >= 8 and not any(word in left for word in ("WEFT", "old", "here", "jump", "goto"))
    for tool in ("iptables-legacy-save", "ip6tables-legacy-save"):
        saved = bench.netns.run(tool)
        assert saved.count("-j ACCEPT") == 4 and "WEFT" not in saved
