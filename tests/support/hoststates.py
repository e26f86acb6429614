"""Host states for tests: consistent ones by hypothesis, a fake host with other people's things on it, differences."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from weft.hoststate import (
    Address,
    Bridge,
    FdbEntry,
    Ifb,
    IptablesChain,
    Key,
    Link,
    Neighbour,
    Netns,
    NftChain,
    NftElement,
    NftFlowDevice,
    NftFlowtable,
    NftSet,
    Object,
    Qdisc,
    Redirect,
    Route,
    Sysctl,
    Veth,
    Vxlan,
    route,
)
from weft.hoststate.firewall import DSTNAT, FILTER, Chain, Hook, same_rules
from weft.hoststate.paths import ALL
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, COUNTER, RETURN, FlowAdd, Jump, Nat
from weft.hoststate.rules.matches import L4PROTO, SADDR, TH_DPORT
from weft.kernel.fake import FakeKernel
from weft.reconcile.relations import fits

NAMESPACES = ("/run/netns/c1", "/run/netns/c2")
UPLINK = Link(name="eth0", type=Bridge(), mtu=1500, alias="", mac="52:54:00:00:00:01")
FOREIGN: tuple[Object, ...] = (
    UPLINK,
    Address(address="192.168.1.68/24", dev="eth0", proto=2),
    Link(name="docker0", type=Bridge(), mtu=1500, alias="", mac="02:42:00:00:00:01"),
    Route(prefix="172.17.0.0/16", dev="docker0", scope="link", proto=2),
    Route(prefix="0.0.0.0/0", dev="eth0", via="192.168.1.1", proto=3),
    Neighbour(address="192.168.1.1", lladdr="52:54:00:00:00:09", dev="eth0", proto=0),
    Sysctl(name="net/ipv4/ip_forward", value="0"),
)


class Clock:
    """Seconds, as told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def host(*objects: Object) -> FakeKernel:
    kernel = FakeKernel(NAMESPACES)
    kernel.plant(*FOREIGN, *objects)
    return kernel


def keyed(*objects: Object) -> dict[Key, Object]:
    return {obj.key: obj for obj in objects}


def differences(kernel: FakeKernel, desired: Mapping[Key, Object]) -> list[str]:
    """What is not as it should be: wanted and not there (or otherwise), ours and not wanted."""
    objects = kernel.objects
    lacking = [
        f"want {o}, have {objects.get(k)}" for k, o in desired.items() if k not in objects or not fits(objects[k], o)
    ]
    return lacking + [f"unwanted {obj}" for key, obj in kernel.ours().items() if key not in desired]


@st.composite
def networks(draw: st.DrawFn, number: int) -> list[Object]:
    name, n = f"weft{number}", number
    objects: list[Object] = [Link(name=name, type=Bridge(), mtu=draw(st.sampled_from([None, 1400, 1450])))]
    wishes: list[Object] = [
        Address(address=f"10.{n}.0.1/24", dev=name),
        Address(address=f"fd00:{n}::1/64", dev=name),
        Sysctl(name=f"net/ipv4/conf/{name}/rp_filter", value=draw(st.sampled_from("012"))),
        NftElement(set="subnets", value=f"10.{n}.0.0/24"),
    ]
    return objects + draw(st.lists(st.sampled_from(wishes), unique=True))


@st.composite
def overlays(draw: st.DrawFn, number: int, vni: int) -> list[Object]:
    name, n = f"vx{number}", number
    kind = Vxlan(vni, draw(st.sampled_from([8472, 4789])), "192.168.1.68", "eth0")
    objects: list[Object] = [
        Link(name=name, type=kind, mac=f"02:00:00:00:01:0{n}", mtu=draw(st.sampled_from([1450, 1400]))),
        Address(address=f"10.5{n}.0.0/32", dev=name),
    ]
    for peer in draw(st.sets(st.integers(1, 3))):
        base, mac = f"10.5{n}.{peer}.0", f"02:00:00:00:0{draw(st.integers(2, 3))}:0{peer}"
        objects += [
            Neighbour(address=base, lladdr=mac, dev=name),
            FdbEntry(lladdr=mac, dst=f"192.168.1.{draw(st.integers(2, 4))}", dev=name),
            route(f"{base}/24", via=base, dev=name, onlink=True),
            route(f"fd05:{n}:{peer}::/64", via=f"fd05:{n}:{peer}::", dev=name, onlink=True),
        ]
    return objects


@st.composite
def namespaced(draw: st.DrawFn, number: int) -> list[Object]:
    """A bridge and a VXLAN device in a namespace of ours, with a container on it."""
    ns, inside, port = f"/run/netns/weft-n{number}", draw(st.sampled_from(NAMESPACES)), f"ovl{number}"
    kind = Vxlan(255 + draw(st.integers(1, 2)) * 2 + number, 4789, "192.168.1.68", "", proxy=True, outside="")
    objects: list[Object] = [
        Netns(path=ns),
        Link(name="br0", type=Bridge(), mtu=1450, ns=ns),
        Link(name="vxlan0", type=kind, mtu=draw(st.sampled_from([1450, 1400])), master="br0", ns=ns),
        Link(
            name=port,
            type=Veth(f"ov{number}", inside),
            master="br0",
            isolated=draw(st.booleans()),
            learning=draw(st.booleans()),
            ns=ns,
        ),
        FdbEntry(lladdr=f"02:42:0a:14:00:{draw(st.integers(1, 2)):02x}", dev=port, bridge="br0", ns=ns),
        Link(name=f"ov{number}", type=Veth(port, ns, False), mac=f"02:42:0a:14:00:0{number}", ns=inside),
        Address(address=f"10.2{number}.0.2/24", dev=f"ov{number}", ns=inside),
    ]
    if draw(st.booleans()):
        objects += limited(port, f"ifbo{number}", 8_000_000, ns)
    for peer in draw(st.sets(st.integers(3, 5))):
        mac, vtep = f"02:42:0a:14:00:0{peer}", f"192.168.1.{draw(st.integers(2, 4))}"
        objects += [
            Neighbour(address=f"10.2{number}.0.{peer}", lladdr=mac, dev="vxlan0", ns=ns),
            FdbEntry(lladdr=mac, dst=vtep, dev="vxlan0", ns=ns),
            FdbEntry(lladdr=ALL, dst=f"192.168.1.{peer}", dev="vxlan0", ns=ns),
        ]
    return objects


@st.composite
def containers(draw: st.DrawFn, number: int, bridges: list[str]) -> list[Object]:
    name, peer, ns = f"veth{number}", f"eth{number}", draw(st.sampled_from(NAMESPACES))
    inside_first = draw(st.booleans())
    master = draw(st.sampled_from(["", *bridges]))
    hairpin = bool(master) and draw(st.booleans())
    objects: list[Object] = [
        Link(name=name, type=Veth(peer, ns, not inside_first), master=master, hairpin=hairpin, alias=f"weft:{number}"),
        Link(name=peer, type=Veth(name, "", inside_first), mac=f"02:00:00:00:09:0{number}", ns=ns),
        Address(address=f"10.1.{number}.{draw(st.integers(2, 3))}/24", dev=peer, ns=ns),
    ]
    if draw(st.booleans()):
        objects += limited(name, f"ifb{number}", draw(st.sampled_from([8_000_000, 80_000_000])))
    wishes = [
        route("0.0.0.0/0", via=f"10.1.{number}.1", dev=peer, metric=number, ns=ns),
        route("::/0", via="fd00:1::1", dev=peer, metric=number, ns=ns),
        route(f"10.1.{number}.0/24", dev=peer, ns=ns),
    ]
    return objects + draw(st.lists(st.sampled_from(wishes), unique=True))


def limited(name: str, queue: str, rate: int, ns: str = "") -> list[Object]:
    """Both ways."""
    return [
        Qdisc(dev=name, rate=rate, burst=32768, limit=65536, ns=ns),
        Link(name=queue, type=Ifb(), ns=ns),
        Qdisc(dev=queue, rate=rate, burst=32768, limit=65536, ns=ns),
        Redirect(dev=name, to=queue, ns=ns),
    ]


@st.composite
def rules(draw: st.DrawFn) -> list[Object]:
    actions = draw(st.sampled_from([(ACCEPT,), (COUNTER, ACCEPT)]))
    cluster = NftChain(name="cluster", rules=(rule(SADDR[4].among("subnets"), *actions),))
    hook = Hook(type="filter", hook="forward", priority=FILTER)
    objects: list[Object] = draw(
        st.sampled_from([[], [cluster], [cluster, NftChain(name="forward", hook=hook, rules=(rule(Jump("cluster")),))]])
    )
    wishes: list[Object] = [
        IptablesChain(
            backend="nft",
            family=4,
            table="filter",
            parent="FORWARD",
            name="WEFT-FORWARD",
            rules=(rule(draw(st.sampled_from([ACCEPT, RETURN]))),),
        ),
        Sysctl(name="net/ipv4/ip_forward", value="1"),
        route("10.60.0.0/24", via=f"192.168.1.{draw(st.integers(2, 4))}", dev="eth0"),
        route("10.61.0.0/24", type=draw(st.sampled_from(["blackhole", "unreachable"]))),
        route("fd61::/64", type="blackhole"),
    ]
    return objects + draw(st.lists(st.sampled_from(wishes), unique=True)) + draw(published())


@st.composite
def offloaded(draw: st.DrawFn, devices: list[str]) -> list[Object]:
    """Open connections between some of these devices go past the rules."""
    listed = draw(st.sets(st.sampled_from(devices)))
    if not listed:
        return []
    hook = Hook(type="filter", hook="forward", priority=300)
    return [
        NftFlowtable(name="short"),
        *(NftFlowDevice(flowtable="short", dev=dev) for dev in listed),
        NftChain(name="short", hook=hook, rules=(rule(FlowAdd("short")),)),
    ]


@st.composite
def published(draw: st.DrawFn) -> list[Object]:
    """Ports of the host that lead to containers, and the same ones elsewhere in another draw."""
    ports = draw(st.sets(st.integers(8080, 8083)))
    if not ports:
        return []
    elements = [NftElement(set="ports", value=f"tcp . {p}", to=f"10.1.1.{draw(st.integers(2, 3))} . 80") for p in ports]
    hook = Hook(type="nat", hook="prerouting", priority=DSTNAT)
    chain = NftChain(name="publish", hook=hook, rules=(rule(Nat("dnat", 4, by=L4PROTO + TH_DPORT, map="ports")),))
    return [
        NftSet(name="ports", type=("inet_proto", "inet_service"), to=("ipv4_addr", "inet_service")),
        *elements,
        chain,
    ]


@st.composite
def hoststates(draw: st.DrawFn) -> dict[Key, Object]:
    """A consistent desired state: everything that something in it needs is in it too, or is the host's."""
    objects: list[Object] = [NftSet(name="subnets", type=("ipv4_addr",), flags=("interval",))]
    bridges = draw(st.lists(st.sampled_from([1, 2]), unique=True))
    for number in bridges:
        objects += draw(networks(number))
    vnis = draw(st.permutations([1, 2]))
    for number in draw(st.lists(st.sampled_from([1, 2]), unique=True)):
        objects += draw(overlays(number, vnis[number - 1]))
    for number in draw(st.lists(st.sampled_from([1, 2, 3]), unique=True)):
        objects += draw(containers(number, [f"weft{n}" for n in bridges]))
    for number in draw(st.lists(st.sampled_from([1, 2]), unique=True)):
        objects += draw(namespaced(number))
    devices = [o.name for o in objects if isinstance(o, Link) and not o.ns]
    return keyed(*objects, *draw(rules()), *draw(offloaded(["eth0", *devices])))


def alike(found: Object | None, wanted: Object | None) -> bool:
    """The same, as far as it can be read back: of rules, their marks."""
    if isinstance(found, Chain) and isinstance(wanted, Chain):
        return same_rules(found, wanted)
    return found == wanted
