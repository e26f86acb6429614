"""Faults of tunnels, addresses, policies, services and sockets: see `support.injected`.

What Weft's agents would mend is injected with those of both hosts ended (`alone`), and undone by hand.
"""

from __future__ import annotations

from support.injected import TCP, Injected

_WRONG_HOST = "192.168.1.99"
_TO = "v=$(ip -o route get {b} | sed 's/.* via \\([^ ]*\\) .*/\\1/'); "
_KNOWN = "m=$(ip neigh show dev weft.1 to $v | sed 's/.*lladdr \\([^ ]*\\).*/\\1/'); "
_MAC = _TO + _KNOWN
_OV_MAC = "m=$(ip neigh show dev vxlan0 to {b} | sed 's/.*lladdr \\([^ ]*\\).*/\\1/'); "
_OV_FDB_MAC = "m=$(bridge fdb show dev vxlan0 | sed -n 's/ dst {b2} .*//p'); "

_REPLAY = """
echo "$n" | while read to _ mac _; do $q neigh replace $to lladdr $mac dev $d nud permanent protocol 87; done
echo "$f" | while read mac _ host _; do $x bridge fdb append $mac dev $d dst $host self permanent; done
"""
_ANEW = (
    """q=ip x= d=weft.1; m=$(ip -o link show $d | sed 's/.*ether \\([^ ]*\\).*/\\1/')
i=$(ip -o -4 address show dev $d | sed 's/.*inet \\([^ ]*\\).*/\\1/'); r=$(ip -4 route show dev $d proto 87)
n=$(ip -4 neigh show dev $d nud permanent); f=$(bridge fdb show dev $d | grep dst)
ip link del $d; ip link add $d address $m mtu 1450 type vxlan OPTIONS nolearning
ip address add $i dev $d; ip link set $d up alias weft:network/{network}"""
    + _REPLAY
    + """echo "$r" | while read line; do ip route replace $line dev $d proto 87; done"""
)
_OV_ANEW = (
    """q="ip -n weft-ov" x="ip netns exec weft-ov" d=vxlan0; n=$($q -4 neigh show dev $d nud permanent)
f=$($x bridge fdb show dev $d | grep dst); $q link del $d
ip link add $d mtu 1450 type vxlan OPTIONS nolearning proxy; ip link set $d netns weft-ov
$q link set $d master br0 up alias weft:network/{network}"""
    + _REPLAY
)


def _anew(where: str, wrong: str, right: str, script: str = _ANEW) -> dict[str, tuple[str, ...]]:
    """The tunnel's device made again, with what goes by it."""
    return {
        "inject": (f"{where}: {script.replace('OPTIONS', wrong)}",),
        "undo": (f"{where}: {script.replace('OPTIONS', right)}",),
    }


def _background(where: str, port: int, script: str) -> dict[str, tuple[str, ...]]:
    """A program that holds this port until it is undone."""
    ready = f"until ss -Htan 'sport = :{port}' | grep -q .; do sleep 0.02; done"
    return {
        "inject": (f"{where}: setsid python3 -SIc '{script}' >/dev/null 2>&1 </dev/null & {ready}",),
        "undo": (f"{where}: kill $(ss -Htanp 'sport = :{port}' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p' | head -1)",),
    }


def _policy(text: str, *names: str) -> dict[str, tuple[str, ...]]:
    return {
        "inject": (f"1: echo '{text}' | {{weft}} policy apply -f -",),
        "undo": tuple(f"1: {{weft}} policy rm {name}" for name in names),
    }


_LISTENS = 'import socket,time; s=socket.create_server(("127.0.0.1",8081)); time.sleep(600)'
_FULL = (
    'import socket,time; s=socket.socket(); s.bind(("0.0.0.0",8082)); s.listen(0); c=[]\n'
    'for _ in range(4):\n k=socket.socket(); k.setblocking(False); k.connect_ex(("127.0.0.1",8082)); c.append(k)\n'
    "time.sleep(600)"
)
_MANY = (
    "import socket,time; c=[]\n"
    'for _ in range(8):\n k=socket.create_connection(("{b}",8080)); c.append(k)\n'
    "time.sleep(600)"
)
_UDP = (
    'python3 -SIc \'import socket; s=socket.socket(2,2); s.bind(("",4000)); s.settimeout(0.5); '
    's.connect(("{b2}",9090)); s.send(b"?"); s.recv(99)\''
)
_BIG = "ip route flush cache; ping -c1 -W0.3 -M do -s 1372 {b}"
_SIZE = ("--size", "1400")
_OWN_MAC = "$(printf '02:42:%02x:%02x:%02x:%02x' $(echo {a} | tr . ' '))"

CASES: tuple[Injected, ...] = (
    # Tunnels.
    Injected(
        "no-fdb",
        ("vx",),
        alone=True,
        inject=(f"1: {_MAC} bridge fdb del $m dev weft.1 dst {{b2}} self",),
        undo=(f"1: {_MAC} bridge fdb replace $m dev weft.1 dst {{b2}} self permanent",),
    ),
    Injected(
        "no-fdb",
        ("ov",),
        alone=True,
        inject=(f"n: {_OV_MAC} bridge fdb del $m dev vxlan0 dst {{b2}} self",),
        undo=(f"n: {_OV_MAC} bridge fdb replace $m dev vxlan0 dst {{b2}} self permanent",),
    ),
    Injected(
        "fdb-wrong-host",
        ("vx",),
        alone=True,
        inject=(f"1: {_MAC} bridge fdb replace $m dev weft.1 dst {_WRONG_HOST} self permanent",),
        undo=(f"1: {_MAC} bridge fdb replace $m dev weft.1 dst {{b2}} self permanent",),
    ),
    Injected(
        "fdb-wrong-host",
        ("ov",),
        name="other",
        alone=True,
        inject=(f"n: {_OV_MAC} bridge fdb replace $m dev vxlan0 dst 192.168.1.245 self permanent",),
        undo=(f"n: {_OV_MAC} bridge fdb replace $m dev vxlan0 dst {{b2}} self permanent",),
    ),
    Injected(
        "fdb-unroutable",
        ("vx", "ov"),
        mends=False,
        alone=True,
        inject=("1: ip route del default; ip route del 192.168.1.0/24 dev eth0",),
        undo=(
            "1: ip route replace 192.168.1.0/24 dev eth0 src 192.168.1.68; ip route replace default via 192.168.1.1",
        ),
    ),
    Injected(
        "no-tunnel-neighbour",
        ("ov",),
        alone=True,
        inject=("n: ip neigh del {b} dev vxlan0", "a: ip neigh flush dev eth0"),
        undo=(f"n: {_OV_FDB_MAC} ip neigh replace {{b}} lladdr $m dev vxlan0 nud permanent protocol 87",),
    ),
    Injected(
        "vni-differs",
        ("vx",),
        alone=True,
        mends=False,
        **_anew("2", "id 9 dev eth0 local {b2} dstport 8472", "id 1 dev eth0 local {b2} dstport 8472"),
    ),
    Injected(
        "vni-differs",
        ("ov",),
        alone=True,
        mends=False,
        **_anew("2", "id 257 local {b2} dstport 4789", "id 256 local {b2} dstport 4789", _OV_ANEW),
    ),
    Injected(
        "tunnel-port-differs",
        ("vx",),
        alone=True,
        mends=False,
        **_anew("2", "id 1 dev eth0 local {b2} dstport 8479", "id 1 dev eth0 local {b2} dstport 8472"),
    ),
    Injected(
        "tunnel-port-differs",
        ("ov",),
        alone=True,
        mends=False,
        **_anew("2", "id 256 local {b2} dstport 4790", "id 256 local {b2} dstport 4789", _OV_ANEW),
    ),
    Injected(
        "tunnel-address-changed",
        ("vx",),
        alone=True,
        mends=False,
        **_anew("1", "id 1 dev eth0 local 192.168.1.77 dstport 8472", "id 1 dev eth0 local 192.168.1.68 dstport 8472"),
    ),
    Injected(
        "tunnel-mtu",
        ("ov",),
        alone=True,
        flow=_SIZE,
        harm=_BIG,
        inject=("n: ip link set vxlan0 mtu 1300",),
        undo=("n: ip link set vxlan0 mtu 1450",),
    ),
    Injected(
        "packet-too-big",
        ("vx",),
        alone=True,
        flow=_SIZE,
        harm=_BIG,
        inject=("1: ip link set weft.1 mtu 1300",),
        undo=("1: ip link set weft.1 mtu 1450",),
    ),
    Injected(
        "packet-too-big",
        ("gw", "rt"),
        alone=True,
        name="uplink",
        flow=_SIZE,
        harm=_BIG,
        inject=("1: ip link set eth0 mtu 1300",),
        undo=("1: ip link set eth0 mtu 1500",),
    ),
    # Policies and networks.
    Injected(
        "policy-denies",
        ("gw", "vx", "ov"),
        mends=False,
        **_policy(
            '{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"}, '
            '"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}',
            "NetworkPolicy/default/closed",
        ),
    ),
    Injected(
        "policy-denies",
        ("rt", "br", "vx"),
        name="weft",
        mends=False,
        **_policy(
            '{"apiVersion": "weft/v1", "kind": "Policy", "metadata": {"name": "never", "namespace": "default"}, '
            '"spec": {"selector": "all()", "types": ["Egress"], "egress": [{"action": "Deny", '
            '"destination": {"nets": ["{b}/32"]}}]}}',
            "Policy/default/never",
        ),
    ),
    Injected("network-isolated", ("two",), inject=(), undo=(), mends=False),
    Injected(
        "spoofing",
        ("br", "vx", "gw"),
        alone=True,
        mends=False,
        inject=("a: ip link set eth0 address 02:00:00:00:00:77",),
        undo=(f"a: ip link set eth0 address {_OWN_MAC}",),
    ),
    # Filters, NAT and connections.
    Injected(
        "bridge-nf",
        ("br",),
        inject=(
            "1: sysctl -qw net.bridge.bridge-nf-call-iptables=1",
            "1: nft 'table ip theirs { chain c { type filter hook forward priority 0; policy drop; }; }'",
        ),
        undo=("1: nft delete table ip theirs", "1: sysctl -qw net.bridge.bridge-nf-call-iptables=1"),
    ),
    Injected(
        "published-stale",
        ("gw",),
        to="{b2}",
        flow=("--proto", "tcp", "--port", "9090"),
        harm="timeout 0.5 bash -c 'exec 3<>/dev/tcp/{b2}/9090'",
        inject=(
            "2: nft 'table ip theirs { chain c { type nat hook prerouting priority -110; tcp dport 9090 dnat to {b}9; }; }'",
        ),
        undo=("2: nft delete table ip theirs",),
    ),
    Injected(
        "conntrack-stale",
        ("gw",),
        to="{b2}",
        flow=("--proto", "udp", "--port", "9090", "--sport", "4000"),
        harm=_UDP,
        inject=(
            "2: nft 'table ip theirs { chain c { type nat hook prerouting priority -110; udp dport 9090 dnat to {b}9; }; }'",
            f"a: {_UDP} || true",
            "2: nft delete table ip theirs",
        ),
        undo=("2: conntrack -D -p udp --orig-port-dst 9090",),
    ),
    # Sockets, services and hosts.
    Injected(
        "listens-elsewhere",
        ("vx", "ov", "gw", "rt", "br"),
        flow=("--proto", "tcp", "--port", "8081"),
        mends=False,
        **_background("b", 8081, _LISTENS),
    ),
    Injected(
        "backlog-full",
        ("rt", "br", "vx", "ov", "gw"),
        flow=("--proto", "tcp", "--port", "8082"),
        mends=False,
        **_background("b", 8082, _FULL),
    ),
    Injected(
        "ports-exhausted",
        ("br", "gw"),
        by="doctor",
        flow=TCP,
        inject=(
            "a: sysctl -qw net.ipv4.ip_local_port_range='40000 40007'",
            f"a: setsid python3 -SIc '{_MANY}' >/dev/null 2>&1 </dev/null &",
            "a: until [ $(ss -Htan 'dport = :8080' | wc -l) -ge 8 ]; do sleep 0.02; done",
        ),
        undo=(
            "a: kill $(ss -Htanp 'dport = :8080' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p' | head -1)",
            "a: sysctl -qw net.ipv4.ip_local_port_range='32768 60999'",
        ),
    ),
    Injected(
        "no-backends",
        ("vx", "gw"),
        to="lonely",
        flow=("--proto", "tcp", "--port", "80"),
        harm="false",
        mends=False,
        inject=("1: {weft} service create lonely --network {network} --port 80 --select app=nobody",),
        undo=("1: {weft} service rm lonely",),
    ),
)
