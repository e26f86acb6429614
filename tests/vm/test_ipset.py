"""Where ipset is a module: it is loaded by the first set that is wanted, and by nothing before."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from support.namespaces import Home
from weft.hoststate import Ipset, IpsetElement, IptablesChain, Key, Object
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import COUNTER, DROP
from weft.hoststate.rules.matches import DADDR, L4PROTO, SADDR, TH_DPORT
from weft.kernel.host.facts import FEATURES
from weft.kernel.kinds import ipset
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing.netlink import Netlink, open_socket
from weft.reconcile.protocol import Create

SETS: tuple[Object, ...] = (
    Ipset(name="weft-a", type="hash:ip", family=4),
    Ipset(name="weft-n", type="hash:net", family=4),
    Ipset(name="weft-p", type="hash:ip,port", family=4),
    IpsetElement(set="weft-a", value="10.0.0.1"),
    IpsetElement(set="weft-n", value="10.0.0.0/8"),
    IpsetElement(set="weft-p", value="10.0.0.1,sctp:80"),
)
RULES = (
    rule(SADDR[4].among("a"), DADDR[4].not_among("n"), COUNTER, DROP),
    rule((DADDR[4] + L4PROTO + TH_DPORT).among("p"), COUNTER, DROP),
)


def works() -> bool:
    with closing(Netlink(open_socket())) as netlink:
        return FEATURES[ipset.FEATURE](netlink)


def test_a_module_that_is_loaded_when_it_is_wanted(netns: Home, tmp_path: Path) -> None:
    desired: dict[Key, Object] = {}
    kernel = LinuxKernel(desired, tmp_path)
    assert not ipset.there(), "the kernel of this machine has it as a module"
    assert kernel.read({}, frozenset({""})).objects == {}
    assert works()
    assert not ipset.there()
    chains = [
        IptablesChain(backend=backend, family=4, table="filter", parent="FORWARD", name="WEFT-X", rules=RULES)
        for backend in ("nft", "legacy")
    ]
    desired |= {obj.key: obj for obj in (*SETS, *chains)}
    assert kernel.apply([Create(obj) for obj in desired.values()]) == []
    assert kernel.read(desired, frozenset({""})).objects.keys() == desired.keys()
    assert works()
    kernel.close()
