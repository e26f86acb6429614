from __future__ import annotations

from ipaddress import ip_interface, ip_network

import msgspec
import pytest

from weft.base.errors import Invalid
from weft.model import Endpoint, Lease, Namespace, Network, Node, decode, encode, keys, to_builtins
from weft.model.endpoint import endpoint_id

NODE = Node(name="node-1", addresses=(ip_interface("192.168.1.68/24"), ip_interface("fd01::68/64")), uplink="eth0")
NETWORK = Network(
    name="blue",
    driver="vxlan",
    subnets=(ip_network("40.15.0.0/16"), ip_network("fd40::/48")),
    options={"vni": 7, "direct-routing": True, "reserve": "40.15.9.0/24"},
)
LEASE = Lease(
    network="blue",
    node="node-1",
    subnets=(ip_network("40.15.43.0/24"), ip_network("fd40:0:0:43::/64")),
    data={"vtep-mac": "02:00:00:00:00:01"},
)
ENDPOINT = Endpoint(
    id="0123456789abcdef",
    name="c1",
    network="blue",
    node="node-1",
    container="c1",
    namespace=Namespace(path="/run/netns/c1", cookie=4711),
    interface="eth0",
    mac="02:42:28:0f:2b:02",
    addresses=(ip_interface("40.15.43.2/24"),),
    labels={"app": "web"},
)


@pytest.mark.parametrize("value", [NODE, NETWORK, LEASE, ENDPOINT])
def test_json_and_back(value: object) -> None:
    assert decode(type(value), encode(value)) == value


def test_equal_values_have_equal_bytes() -> None:
    options = dict(reversed(NETWORK.options.items()))
    other = Network(name="blue", driver="vxlan", subnets=NETWORK.subnets, options=options)
    assert encode(other) == encode(NETWORK)


def test_addresses_are_text_in_json() -> None:
    assert to_builtins(LEASE)["subnets"] == ("40.15.43.0/24", "fd40:0:0:43::/64")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"name": "blue"', "not a Network: Input data was truncated"),
        (b'{"name": "blue", "driver": "vxlan"}', "network: Object missing required field `subnets`"),
        (b'{"name": 1, "driver": "vxlan", "subnets": []}', "network: Expected `str`, got `int` - at `$.name`"),
        (
            b'{"name": "blue", "driver": "vxlan", "subnets": ["10.1.0.5/16"]}',
            "'10.1.0.5/16' has host bits set: did you mean 10.1.0.0/16?",
        ),
    ],
)
def test_bad_json(data: bytes, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(Network, data)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "Blue"}, "'Blue' is not a network name"),
        ({"subnets": (ip_network("224.0.0.0/16"),)}, "224.0.0.0/16 is multicast: choose a private prefix"),
        ({"subnets": (ip_network("127.1.0.0/16"),)}, "127.1.0.0/16 is loopback"),
        ({"subnets": (ip_network("fe80::/48"),)}, "fe80::/48 is link-local"),
        ({"subnets": (ip_network("0.0.0.0/0"),)}, "0.0.0.0/0 is the whole address space"),
        ({"mtu": 500}, "network blue: MTU 500 is outside 576 to 65535"),
        ({"mtu": 1279, "subnets": (ip_network("fd00::/48"),)}, "network blue: MTU 1279 is outside 1280 to 65535"),
    ],
)
def test_bad_network(changed: dict[str, object], message: str) -> None:
    values = {"name": "blue", "driver": "bridge", "subnets": (ip_network("10.1.0.0/16"),), **changed}
    with pytest.raises(Invalid) as caught:
        Network(**values)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "node 1"}, "'node 1' is not a node name"),
        ({"uplink": "eth0/1"}, "'eth0/1' is not an interface name"),
        ({"addresses": ()}, "node node-1: no underlay address: give eth0 one, or choose another with --iface"),
        (
            {"addresses": (ip_interface("10.0.0.1/24"), ip_interface("10.0.1.1/24"))},
            "more than one underlay address of one family: 10.0.0.1/24, 10.0.1.1/24",
        ),
        ({"mtu": 1000}, "node node-1: MTU 1000 of eth0 is outside 1280 to 65536"),
    ],
)
def test_bad_node(changed: dict[str, object], message: str) -> None:
    values = {"name": "node-1", "addresses": NODE.addresses, "uplink": "eth0", **changed}
    with pytest.raises(Invalid) as caught:
        Node(**values)  # type: ignore[arg-type]
    assert message in str(caught.value)


def _node(address: str, segment: str = "") -> Node:
    return Node(name="n", addresses=(ip_interface(address),), uplink="eth0", segment=segment)


@pytest.mark.parametrize(
    ("mine", "theirs", "shared"),
    [
        (_node("192.168.1.68/24"), _node("192.168.1.254/24"), True),
        (_node("192.168.1.68/24"), _node("192.168.0.33/24"), False),
        (_node("192.168.1.68/24", "a"), _node("192.168.0.33/24", "a"), True),
        (_node("192.168.1.68/24", "a"), _node("192.168.1.254/24", "b"), False),
        (_node("192.168.1.68/24", "a"), _node("192.168.1.254/24"), False),
        (_node("192.168.1.68/24"), _node("fd01::1/64"), False),
    ],
)
def test_segment(mine: Node, theirs: Node, shared: bool) -> None:
    assert mine.shares_segment(theirs, 4) is shared


def test_a_dual_stack_network_has_one_prefix_of_each_family() -> None:
    assert NETWORK.families == (4, 6)
    assert NETWORK.subnet(6) == ip_network("fd40::/48")
    assert LEASE.subnet(4) == ip_network("40.15.43.0/24")


def test_overlap_names_the_pair() -> None:
    green = Network(name="green", driver="bridge", subnets=(ip_network("fd40::/32"),))
    assert NETWORK.overlap(green) == (ip_network("fd40::/48"), ip_network("fd40::/32"))
    assert green.overlap(Network(name="red", driver="bridge", subnets=(ip_network("10.0.0.0/8"),))) is None


def test_an_endpoints_names() -> None:
    assert ENDPOINT.host_interface == "weft0123456789a"
    assert endpoint_id("blue", "node-1", 1, "eth0") == endpoint_id("blue", "node-1", 1, "eth0")
    assert endpoint_id("blue", "node-1", 1, "eth0") != endpoint_id("blue", "node-1", 2, "eth0")


def test_endpoint_wants_a_canonical_mac() -> None:
    values = {f: getattr(ENDPOINT, f) for f in ENDPOINT.__struct_fields__}
    with pytest.raises(Invalid, match="MAC 02:42:28:0F:2B:02 is not in lower case with colons"):
        Endpoint(**{**values, "mac": "02:42:28:0F:2B:02"})


def test_keys() -> None:
    assert keys.lease("blue", "node-1").startswith(keys.leases("blue"))
    assert keys.endpoint("node-1", "blue", "ab") == "endpoints/node-1/blue/ab"
    assert keys.endpoint("node-1", "blue", "ab").startswith(keys.endpoints("node-1"))
    assert keys.cursor("node-1", "blue").startswith(keys.cursors("node-1"))
    assert keys.subnet_claim("blue", ip_network("fd40:0:0:43::/64")) == "claims/subnets/blue/fd40:0:0:43::-64"


def test_one_networks_keys_are_not_anothers() -> None:
    assert not keys.endpoint("node-12", "blue", "ab").startswith(keys.endpoints("node-1"))
    assert not keys.lease("blue-2", "node-1").startswith(keys.leases("blue"))
    assert not keys.subnet_claim("blue-2", LEASE.subnets[0]).startswith(keys.subnet_claims("blue"))


class TestSharing:
    """A field since the option alone was: records of either kind are read, and what is written is read by both."""

    RECORD = b'{"name": "dev", "driver": "routed", "subnets": ["10.9.0.0/24"], "options": {"share": "prod"}}'

    def test_a_record_of_a_former_version(self) -> None:
        dev = decode(Network, self.RECORD)
        assert (dev.share, dev.home) == ("prod", "prod")

    def test_a_former_version_reads_what_is_written(self) -> None:
        made = Network(name="dev", driver="routed", subnets=(), share="prod")
        for record in (encode(made), encode(decode(Network, encode(made)))):
            assert msgspec.json.decode(record)["options"] == {"share": "prod"}
            assert decode(Network, record) == made

    def test_other_options_stay(self) -> None:
        made = msgspec.structs.replace(decode(Network, self.RECORD), options={"vni": 7})
        assert (made.share, made.options) == ("prod", {"vni": 7, "share": "prod"})

    def test_its_own_is_neither(self) -> None:
        made = Network(name="blue", driver="routed", subnets=NETWORK.subnets, options={"share": ""})
        assert (made.share, made.home) == ("", "blue")

    def test_one_of_two_is_meant(self) -> None:
        with pytest.raises(Invalid) as caught:
            Network(name="dev", driver="routed", subnets=(), share="prod", options={"share": "test"})
        assert str(caught.value) == "network dev: it shares prod, and its option share says test: leave one out"
