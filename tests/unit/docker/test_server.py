"""The plugin's API as dockerd 20.10 uses it: a container's life, and every way it can be refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from support.agents import create
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.docker.ipam import Ipam
from weft.docker.operations import operations
from weft.docker.server import CONTENT_TYPE, application
from weft.docker.state import PluginState

Plugin = TestClient[Any, Any]
NET, EP = "4f" * 32, "9a" * 32
POOL = "10.1.0.0/16"
OPTIONS = {"weft.network": "blue", "weft.driver": "vxlan"}


async def ask(plugin: Plugin, operation: str, **body: object) -> dict[str, Any]:
    answer = await plugin.post(f"/{operation}", json=body)
    assert answer.status == 200 and answer.headers["Content-Type"] == CONTENT_TYPE
    found: dict[str, Any] = await answer.json()
    return found


async def refused(plugin: Plugin, operation: str, **body: object) -> str:
    answer = await ask(plugin, operation, **body)
    key = "Error" if operation.startswith("Ipam") else "Err"
    assert list(answer) == [key], answer
    return str(answer[key])


def create_network(
    pool: str = POOL, space: str = "weft", options: object = OPTIONS, **more: object
) -> dict[str, object]:
    data = [{"AddressSpace": space, "Pool": pool, "Gateway": "10.1.0.1/16", "AuxAddresses": {}}]
    given = {"com.docker.network.enable_ipv6": False, "com.docker.network.generic": options, **more}
    return {"NetworkID": NET, "Options": given, "IPv4Data": data, "IPv6Data": []}


def port(**more: object) -> dict[str, object]:
    return {"com.docker.network.portmap": [{"Proto": 6, "IP": "", "Port": 80, "HostIP": "", **more}]}


async def endpoint(plugin: Plugin, id: str = EP, address: str = "", mac: str = "", **more: object) -> dict[str, Any]:
    """Up to CreateEndpoint: its answer, with the address."""
    given = await ask(plugin, "IpamDriver.RequestAddress", PoolID=POOL, Address=address, Options=None)
    interface = {"Address": given["Address"], "AddressIPv6": "", "MacAddress": mac}
    made = await ask(
        plugin, "NetworkDriver.CreateEndpoint", NetworkID=NET, EndpointID=id, Interface=interface, Options={}
    )
    return {**made, "Address": given["Address"]}


@pytest.fixture
async def blue(plugin: Plugin) -> None:
    assert await ask(plugin, "NetworkDriver.CreateNetwork", **create_network()) == {}


async def test_what_it_is(plugin: Plugin) -> None:
    assert await ask(plugin, "Plugin.Activate") == {"Implements": ["NetworkDriver", "IpamDriver"]}
    assert await ask(plugin, "NetworkDriver.GetCapabilities") == {"Scope": "local"}
    assert await ask(plugin, "IpamDriver.GetCapabilities") == {
        "RequiresMACAddress": False,
        "RequiresRequestReplay": False,
    }
    spaces = await ask(plugin, "IpamDriver.GetDefaultAddressSpaces")
    assert set(spaces.values()) == {"weft"}


async def test_a_container_s_life(plugin: Plugin, agent: Agent, state: PluginState) -> None:
    pool = await ask(plugin, "IpamDriver.RequestPool", AddressSpace="weft", Pool=POOL, SubPool="", Options={}, V6=False)
    assert pool == {"PoolID": POOL, "Pool": POOL, "Data": {}}
    gateway = {"RequestAddressType": "com.docker.network.gateway"}
    first = await ask(plugin, "IpamDriver.RequestAddress", PoolID=POOL, Address="", Options=gateway)
    assert first["Address"] == "10.1.0.1/16"
    await ask(plugin, "NetworkDriver.CreateNetwork", **create_network())
    lease = agent.view.lease("blue", "node-1")
    assert lease and state.network(NET) is not None
    subnet = lease.subnets[0]
    own = await ask(plugin, "IpamDriver.RequestAddress", PoolID=POOL, Address="", Options=gateway)
    assert own["Address"] == f"{subnet[1]}/24"

    made = await endpoint(plugin)
    assert made["Address"] == f"{subnet[2]}/24"
    assert made["Interface"] == {"MacAddress": f"02:42:{subnet[2].packed.hex(':')}"}
    ids = {"NetworkID": NET, "EndpointID": EP}
    joined = await ask(plugin, "NetworkDriver.Join", **ids, SandboxKey="/run/docker/netns/abc", Options={})
    [held] = await Service(agent).endpoints(owner="docker/")
    assert held.owner == f"docker/{NET}/{EP}" and held.namespace == "/run/docker/netns/abc"
    assert joined == {
        "InterfaceName": {"SrcName": held.handover, "DstPrefix": "eth"},
        "Gateway": str(subnet[1]),
        "GatewayIPv6": "",
        "StaticRoutes": [{"Destination": POOL, "RouteType": 0, "NextHop": str(subnet[1])}],
        "DisableGatewayService": True,
    }
    assert await ask(plugin, "NetworkDriver.ProgramExternalConnectivity", **ids, Options={}) == {}
    assert await ask(plugin, "NetworkDriver.EndpointOperInfo", **ids) == {"Value": {}}
    assert await ask(plugin, "NetworkDriver.RevokeExternalConnectivity", **ids) == {}
    assert await ask(plugin, "NetworkDriver.Leave", **ids) == {}
    assert await ask(plugin, "NetworkDriver.DeleteEndpoint", **ids) == {}
    assert await ask(plugin, "NetworkDriver.DeleteEndpoint", **ids) == {}
    assert await ask(plugin, "IpamDriver.ReleaseAddress", PoolID=POOL, Address=str(subnet[2])) == {}
    assert await Service(agent).endpoints() == ()

    assert await ask(plugin, "IpamDriver.ReleaseAddress", PoolID=POOL, Address="10.1.0.1") == {}
    assert await ask(plugin, "IpamDriver.ReleasePool", PoolID=POOL) == {}
    assert await ask(plugin, "NetworkDriver.DeleteNetwork", NetworkID=NET) == {}
    assert await ask(plugin, "NetworkDriver.DeleteNetwork", NetworkID=NET) == {}
    assert state.networks() == {} and not agent.view.networks


@pytest.mark.usefixtures("blue")
async def test_a_mac_address_as_given_is_not_answered(plugin: Plugin, agent: Agent) -> None:
    made = await endpoint(plugin, mac="02:00:00:00:00:01")
    assert made["Interface"] == {}
    assert [e.mac for e in await Service(agent).endpoints()] == ["02:00:00:00:00:01"]


@pytest.mark.usefixtures("blue")
async def test_an_internal_network_gives_no_gateway_and_docker_shall_add_none(plugin: Plugin) -> None:
    green = create_network("10.2.0.0/16", options={"weft.driver": "host-gw"}, **{"com.docker.network.internal": True})
    await ask(plugin, "NetworkDriver.CreateNetwork", **{**green, "NetworkID": "beef"})
    given = await ask(plugin, "IpamDriver.RequestAddress", PoolID="10.2.0.0/16")
    ids = {"NetworkID": "beef", "EndpointID": EP}
    await ask(plugin, "NetworkDriver.CreateEndpoint", **ids, Interface={"Address": given["Address"]})
    joined = await ask(plugin, "NetworkDriver.Join", **ids, SandboxKey="/run/docker/netns/abc")
    assert (joined["Gateway"], joined["DisableGatewayService"]) == ("", True)
    assert [r["Destination"] for r in joined["StaticRoutes"]] == ["10.2.0.0/16"]


@pytest.mark.usefixtures("blue")
async def test_ports_are_published_and_withdrawn(plugin: Plugin, agent: Agent) -> None:
    ids = {"NetworkID": NET, "EndpointID": EP}
    await endpoint(plugin)
    await ask(plugin, "NetworkDriver.ProgramExternalConnectivity", **ids, Options=port(HostPort=8080, HostPortEnd=8080))
    [held] = await Service(agent).endpoints()
    assert list(map(str, held.ports)) == ["8080:80/tcp"]
    await endpoint(plugin, "beef")
    other = {"NetworkID": NET, "EndpointID": "beef"}
    taken = await refused(plugin, "NetworkDriver.ProgramExternalConnectivity", **other, Options=port(HostPort=8080))
    assert "port 8080/tcp leads to docker-9a9a" in taken
    for each in (ids, ids, other, {**ids, "EndpointID": "dead"}):
        assert await ask(plugin, "NetworkDriver.RevokeExternalConnectivity", **each) == {}
    assert not any(e.ports for e in await Service(agent).endpoints())
    at = port(HostPort=8080, HostIP="192.168.1.68", Proto=17)
    assert await ask(plugin, "NetworkDriver.ProgramExternalConnectivity", **other, Options=at) == {}
    assert [str(p) for e in await Service(agent).endpoints() for p in e.ports] == ["192.168.1.68:8080:80/udp"]


@pytest.mark.usefixtures("blue")
async def test_two_requests_at_once_get_two_addresses(plugin: Plugin) -> None:
    made = await asyncio.gather(*(endpoint(plugin, f"{n:064x}") for n in range(20)))
    assert len({m["Address"] for m in made}) == 20


@pytest.mark.usefixtures("blue")
async def test_an_address_kept_for_nothing_is_given_back(plugin: Plugin) -> None:
    given = (await ask(plugin, "IpamDriver.RequestAddress", PoolID=POOL))["Address"]
    wish = given.partition("/")[0]
    assert "a container to come" in await refused(plugin, "IpamDriver.RequestAddress", PoolID=POOL, Address=wish)
    await ask(plugin, "IpamDriver.ReleaseAddress", PoolID=POOL, Address=wish)
    assert (await ask(plugin, "IpamDriver.RequestAddress", PoolID=POOL, Address=wish))["Address"] == given


@pytest.mark.usefixtures("blue")
async def test_a_network_that_was_removed_elsewhere_is_made_again(plugin: Plugin, agent: Agent) -> None:
    await Service(agent).remove_network("blue")
    await endpoint(plugin)
    assert set(agent.view.networks) == {"blue"}


async def test_a_network_of_somebody_else_s_is_joined_and_left(plugin: Plugin, agent: Agent) -> None:
    await create(agent, "grey", POOL)
    await ask(plugin, "NetworkDriver.CreateNetwork", **create_network(options=None))
    await endpoint(plugin)
    assert [e.network for e in await Service(agent).endpoints()] == ["grey"]
    await ask(plugin, "NetworkDriver.DeleteNetwork", NetworkID=NET)
    assert set(agent.view.networks) == {"grey"} and await Service(agent).endpoints() == ()


async def test_a_network_with_fewer_families_is_refused(plugin: Plugin, agent: Agent) -> None:
    """It was accepted, and no container could be started in it."""
    await create(agent, "dual", "10.5.0.0/16", "fd05::/48")
    for options in ({"weft.network": "dual"}, None):
        wrong = create_network("10.5.0.0/16", options=options)
        told = await refused(plugin, "NetworkDriver.CreateNetwork", **wrong)
        assert "dual exists with subnets 10.5.0.0/16, fd05::/48, not with 10.5.0.0/16 alone" in told
        assert "add --ipv6 --subnet fd05::/48" in told
    six = [{"AddressSpace": "weft", "Pool": "fd05::/48", "Gateway": "", "AuxAddresses": {}}]
    both = {**create_network("10.5.0.0/16", options=None), "IPv6Data": six}
    assert await ask(plugin, "NetworkDriver.CreateNetwork", **both) == {}


@pytest.mark.parametrize(
    ("operation", "body", "says"),
    [
        ("NetworkDriver.CreateNetwork", create_network(space="LocalDefault"), "add --ipam-driver weft"),
        ("NetworkDriver.CreateNetwork", create_network("10.3.0.0/16"), "network blue exists with subnet"),
        ("NetworkDriver.CreateNetwork", create_network(options={"weft.mtu": "big"}), "weft.mtu=big is not"),
        ("NetworkDriver.CreateNetwork", create_network("10.3.0.0/16", options={}), "say -o weft.driver=DRIVER"),
        ("NetworkDriver.CreateNetwork", {"NetworkID": "../x"}, "is not an id of Docker's"),
        ("NetworkDriver.CreateNetwork", {}, "NetworkID"),
        ("NetworkDriver.CreateEndpoint", {"NetworkID": NET, "EndpointID": EP}, "needs its addresses told"),
        ("NetworkDriver.CreateEndpoint", {"NetworkID": "aa", "EndpointID": EP}, "is not known to Weft"),
        ("NetworkDriver.CreateEndpoint", {"NetworkID": NET, "EndpointID": "a/b"}, "is not an id of Docker's"),
        ("NetworkDriver.Join", {"NetworkID": NET, "EndpointID": EP, "SandboxKey": "/x"}, "is not known to Weft"),
        ("NetworkDriver.EndpointOperInfo", {"NetworkID": NET, "EndpointID": "a/b"}, "is not an id of Docker's"),
        (
            "NetworkDriver.ProgramExternalConnectivity",
            {"NetworkID": NET, "EndpointID": EP, "Options": port(HostPort=8080)},
            "it was never attached",
        ),
        (
            "NetworkDriver.ProgramExternalConnectivity",
            {"NetworkID": NET, "EndpointID": EP, "Options": port()},
            "such as -p 8080:80",
        ),
        (
            "NetworkDriver.ProgramExternalConnectivity",
            {"NetworkID": NET, "EndpointID": EP, "Options": port(HostPort=8000, HostPortEnd=8010)},
            "such as -p 8080:80",
        ),
        (
            "NetworkDriver.ProgramExternalConnectivity",
            {"NetworkID": NET, "EndpointID": EP, "Options": port(HostPort=80, Proto=1)},
            "IP protocol 1 has no ports",
        ),
        ("IpamDriver.RequestPool", {"Pool": ""}, "give --subnet"),
        ("IpamDriver.RequestPool", {"Pool": POOL, "SubPool": "10.1.3.0/24"}, "--ip-range is not"),
        ("IpamDriver.RequestPool", {"Pool": "10.1.0.1/16"}, "10.1.0.1/16"),
        ("IpamDriver.RequestAddress", {"PoolID": "10.9.0.0/16"}, "--aux-address is not"),
        ("IpamDriver.RequestAddress", {"PoolID": POOL, "Address": "10.1.0.300"}, "10.1.0.300"),
        ("IpamDriver.ReleaseAddress", {"PoolID": "nonsense", "Address": "10.1.0.3"}, "nonsense"),
    ],
)
@pytest.mark.usefixtures("blue")
async def test_refused(plugin: Plugin, agent: Agent, operation: str, body: dict[str, object], says: str) -> None:
    assert says in await refused(plugin, operation, **body)
    assert set(agent.view.networks) == {"blue"} and await Service(agent).endpoints() == ()


async def test_keys_are_found_in_any_case(plugin: Plugin, agent: Agent) -> None:
    """As a program in Go finds them."""
    made = create_network()
    [data] = made["IPv4Data"]  # type: ignore[misc] # a list
    lower = {"networkid": NET, "OPTIONS": made["Options"], "ipv4data": [{k.lower(): v for k, v in data.items()}]}
    assert await ask(plugin, "NetworkDriver.CreateNetwork", **lower) == {}
    assert set(agent.view.networks) == {"blue"}
    await endpoint(plugin)
    ports = {"com.docker.network.portmap": [{"proto": 6, "PORT": 80, "hostport": 8080, "hostPortEnd": 8080}]}
    told = {"NetworkID": NET, "endpointid": EP, "options": ports}
    await ask(plugin, "NetworkDriver.ProgramExternalConnectivity", **told)
    assert [str(p) for e in await Service(agent).endpoints() for p in e.ports] == ["8080:80/tcp"]


DEEP = (b"[" * 100_000, b'{"Options":' * 40_000, b'{"Interface":{"x":' + b"[" * 100_000)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 10_000, *DEEP])
@pytest.mark.parametrize("operation", ["NetworkDriver.Join", "IpamDriver.RequestAddress"])
async def test_what_is_not_a_request(plugin: Plugin, operation: str, body: bytes) -> None:
    answer = await plugin.post(f"/{operation}", data=body)
    assert answer.status == 200 and list(await answer.json()) == ["Error" if operation.startswith("Ipam") else "Err"]


@pytest.mark.parametrize(
    ("method", "path", "status", "key"),
    [
        ("POST", "/NetworkDriver.AllocateNetwork", 404, "Err"),
        ("POST", "/IpamDriver.Nothing", 404, "Error"),
        ("POST", "/", 404, "Err"),
        ("GET", "/NetworkDriver.Join", 405, "Err"),
    ],
)
async def test_what_is_not_an_operation(plugin: Plugin, method: str, path: str, status: int, key: str) -> None:
    answer = await plugin.request(method, path)
    assert (answer.status, list(await answer.json())) == (status, [key])


async def test_no_agent(plugin: Plugin, client: Any) -> None:
    client.socket_path = "/nowhere/weft.sock"
    assert "no agent answers" in await refused(plugin, "NetworkDriver.CreateNetwork", **create_network())


async def test_a_container_that_starts_waits_for_the_agent(client: Any, state: PluginState, driver: Any) -> None:
    """Docker asks once when a host boots. What needs no container to start is answered at once."""
    app = application(operations(driver, Ipam(client, state, driver)), patience=20)
    async with TestClient(TestServer(app)) as patient:
        path, client.socket_path = client.socket_path, "/nowhere/weft.sock"
        asked = asyncio.create_task(ask(patient, "NetworkDriver.CreateNetwork", **create_network()))
        told = await refused(patient, "NetworkDriver.DeleteEndpoint", NetworkID=NET, EndpointID=EP)
        assert "no agent answers" in told and not asked.done()
        client.socket_path = path
        assert await asked == {}


async def test_a_defect_is_told_without_its_traceback(plugin: Plugin, driver: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("weft.docker.driver.networks.ensure", lambda *_: 1 / 0)
    told = await refused(plugin, "NetworkDriver.CreateNetwork", **create_network())
    assert "its log has the traceback" in told and "Zero" not in told


async def test_labels_namespace_and_ports_by_options_of_an_endpoint(plugin: Plugin, agent: Agent) -> None:
    await ask(plugin, "NetworkDriver.CreateNetwork", **create_network())
    given = await ask(plugin, "IpamDriver.RequestAddress", PoolID=POOL, Address="", Options=None)
    options = {
        "com.docker.network.endpoint.exposedports": [],
        "weft.label.tier": "front",
        "weft.label.example.com/team": "a",
        "weft.namespace": "shop",
        "weft.port-name.http": "8080",
        "weft.port-name.dns": "53/udp",
    }
    asked = {"NetworkID": NET, "EndpointID": EP, "Interface": {"Address": given["Address"]}}
    for option, value, why in (
        ("weft.nonsense", "1", "unknown option weft.nonsense of an endpoint"),
        ("weft.label.a/b/c", "x", "is not a label's key"),
        ("weft.namespace", "A", "is not a namespace's name"),
        ("weft.port-name.80", "80", "is not a port's name"),
        ("weft.port-name.http", "80/x", "is none of tcp, udp, sctp"),
    ):
        assert why in await refused(plugin, "NetworkDriver.CreateEndpoint", **asked, Options={option: value})
    await ask(plugin, "NetworkDriver.CreateEndpoint", **asked, Options=options)
    [made] = await Service(agent).endpoints()
    assert made.labels == {"tier": "front", "example.com/team": "a"} and made.policy_namespace == "shop"
    assert list(map(str, made.named_ports)) == ["http=8080/tcp", "dns=53/udp"]
