"""The target `aws` against moto behind what makes it strict: which calls are made, and what follows from each answer."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from typing import Any

import msgspec
import pytest

from support import ec2
from support.ec2 import KEYS, Metadata, Strict, Vpc
from weft.base.errors import Failed, Unavailable, Unsupported
from weft.hoststate import Key, Object, TargetObject
from weft.hoststate.cloud import VpcInterface, VpcRoute
from weft.model import Node
from weft.reconcile.reconciler import Reconciler
from weft.targets import aws
from weft.targets.aws import Aws
from weft.targets.calls import Limits
from weft.targets.ec2 import Ec2
from weft.targets.remote import Remote
from weft.targets.routes import Territory

HOSTS = {
    "node-1": ("a", "192.168.1.68/24"),
    "node-2": ("a", "192.168.1.254/24"),
    "node-3": ("a", "192.168.1.245/24"),
    "node-4": ("b", "192.168.0.33/24"),
}
NETWORK = ip_network("40.15.0.0/16")
LIMITS = Limits(rate=1000.0, burst=1000, timeout=10.0, settling=0.0)
INSIDE = {"node-1": "40.15.43.0/24", "node-2": "40.15.26.0/24", "node-3": "40.15.56.0/24", "node-4": "40.15.9.0/24"}


@pytest.fixture(scope="module")
def api() -> Iterator[tuple[Strict, str]]:
    """One server for all tests of this file, which make a VPC each."""
    strict = Strict()
    with ec2.served(strict, ec2.listening("127.0.0.1")) as url:
        yield strict, url


class Scene:
    """A node's target, with a reconciler that drives it by hand."""

    def __init__(self, name: str, strict: Strict, vpc: Vpc) -> None:
        self.strict, self.vpc, self.name = strict, vpc, name
        self.me = vpc.instances[name]
        self.node = Node(name=name, addresses=(ip_interface(HOSTS[name][1]),), uplink="eth0")
        self.territory = Territory(me=name, subnets=(NETWORK,), holders={ip_network(s): n for n, s in INSIDE.items()})
        self.now = 1000.0
        self.target = Aws(lambda: self.territory, lambda: self.now)
        self.remote = Remote(self.target, LIMITS)
        self.desired: dict[Key, Object] = {}
        self.reconciler: Reconciler | None = None

    def learn(self) -> dict[str, str]:
        found = dict(self.remote.learn(self.node))
        self.reconciler = Reconciler(self.remote, self.desired, lambda: self.now, self.target.places)
        self.reconciler.complete = True
        return found

    def route(self, node: str = "", table: str = "a", leads_to: str = "") -> VpcRoute:
        node = node or self.name
        eni = leads_to or self.vpc.instances[node].interface
        return VpcRoute(place=self.vpc.id, table=self.vpc.tables[table], destination=INSIDE[node], interface=eni)

    def want(self, *objects: TargetObject) -> None:
        self.desired.clear()
        self.desired.update((o.key, o) for o in objects)

    def resync(self) -> list[str]:
        """What could not be done, and why."""
        assert self.reconciler is not None
        report = self.reconciler.resync()
        unread = [trouble.reason for trouble in self.reconciler.unread.values()]
        return [failure.reason for failure in report.failures] + unread


@pytest.fixture
def scene(api: tuple[Strict, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    strict, url = api
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    vpc = ec2.make_vpc(ec2.client_of(url), HOSTS)
    with ec2.served(Metadata(vpc), ec2.listening("127.0.0.1")) as metadata:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata)
        strict.forget()
        made = Scene("node-1", strict, vpc)
        yield made
        made.remote.close()
        strict.__dict__.update(limit=50, every=0, rate=0.0, expired=False, away=False, forbidden=set())


def test_a_node_that_joins_costs_three_calls_and_one_that_is_there_a_call_for_each_look(scene: Scene) -> None:
    facts = scene.learn()
    assert (facts["vpc"], facts["subnet"]) == (scene.vpc.id, scene.me.subnet)
    assert (facts["interface"], facts["table"]) == (scene.me.interface, scene.vpc.tables["a"])
    assert (facts["region"], facts["vpc-cidrs"]) == (ec2.REGION, "192.168.0.0/16")
    scene.want(VpcInterface(place=scene.me.interface), scene.route())
    assert scene.resync() == []
    assert scene.strict.made() == {
        "DescribeRouteTables": 1,
        "ModifyNetworkInterfaceAttribute": 1,
        "CreateRoute": 1,
    }
    assert scene.vpc.routes("a") == {INSIDE["node-1"]: scene.me.interface}
    assert not scene.vpc.checked("node-1")
    scene.strict.forget()
    assert scene.resync() == []
    assert scene.strict.made() == {"DescribeRouteTables": 1, "DescribeNetworkInterfaces": 1}
    scene.want()
    scene.strict.forget()
    assert scene.resync() == []
    assert scene.strict.made()["DeleteRoute"] == 1 and scene.vpc.routes("a") == {}
    assert not scene.vpc.checked("node-1"), "who else relies on that is not known"


def test_the_table_of_a_subnet_is_the_one_that_it_is_associated_with(scene: Scene) -> None:
    far = Scene("node-4", scene.strict, scene.vpc)
    assert far.learn()["table"] == scene.vpc.tables["b"]
    far.remote.close()


def test_a_route_that_leads_elsewhere_is_replaced_and_one_that_is_missing_comes_back(scene: Scene) -> None:
    ec2_ = scene.vpc.client
    ec2_.create_route(
        RouteTableId=scene.vpc.tables["a"],
        DestinationCidrBlock=INSIDE["node-1"],
        NetworkInterfaceId=scene.vpc.instances["node-2"].interface,
    )
    scene.learn()
    scene.want(scene.route())
    assert scene.resync() == []
    assert scene.strict.made()["ReplaceRoute"] == 1, "there was no moment without a route"
    assert scene.vpc.routes("a") == {INSIDE["node-1"]: scene.me.interface}
    ec2_.delete_route(RouteTableId=scene.vpc.tables["a"], DestinationCidrBlock=INSIDE["node-1"])
    assert scene.resync() == []
    assert scene.vpc.routes("a") == {INSIDE["node-1"]: scene.me.interface}


def test_what_is_not_ours_is_never_touched(scene: Scene) -> None:
    """A route to a gateway at the place of ours; one to this very interface, but outside of Weft's networks; another node's."""
    ec2_, table = scene.vpc.client, scene.vpc.tables["a"]
    gateway = ec2_.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2_.attach_internet_gateway(InternetGatewayId=gateway, VpcId=scene.vpc.id)
    others = {
        INSIDE["node-1"]: gateway,
        "10.99.0.0/16": scene.me.interface,
        "0.0.0.0/0": scene.me.interface,
        INSIDE["node-2"]: scene.vpc.instances["node-2"].interface,
    }
    for destination, to in others.items():
        way = {"GatewayId": to} if to == gateway else {"NetworkInterfaceId": to}
        ec2_.create_route(RouteTableId=table, DestinationCidrBlock=destination, **way)
    scene.learn()
    scene.strict.forget()
    scene.want(scene.route())
    [told] = scene.resync()
    assert told == (f"vpc-route {table} {INSIDE['node-1']} in {scene.vpc.id} exists and is not Weft's: remove it")
    scene.want()
    assert scene.resync() == []
    assert scene.vpc.routes("a") == others
    assert set(scene.strict.made()) == {"DescribeRouteTables"}


def test_what_a_lease_has_left_goes_by_the_janitor_alone_and_after_a_while(scene: Scene) -> None:
    ec2_, table = scene.vpc.client, scene.vpc.tables["a"]
    gone = {"40.15.77.0/24": scene.vpc.instances["node-2"].interface, "40.15.78.0/24": scene.me.interface}
    for destination, eni in gone.items():
        ec2_.create_route(RouteTableId=table, DestinationCidrBlock=destination, NetworkInterfaceId=eni)
    scene.learn()
    assert scene.resync() == []
    assert set(scene.vpc.routes("a")) == {"40.15.77.0/24"}, "what leads here and is no lease's goes at once"
    scene.now += 100
    assert scene.resync() == []
    assert set(scene.vpc.routes("a")) == {"40.15.77.0/24"}, "this node is not the janitor"
    scene.territory = msgspec.structs.replace(scene.territory, sweeps=True)
    assert scene.resync() == []
    assert set(scene.vpc.routes("a")) == {"40.15.77.0/24"}, "its lease may be heard of in a moment"
    scene.now += 31
    assert scene.resync() == []
    assert scene.vpc.routes("a") == {}


def test_a_blackhole_stays_as_long_as_there_is_a_lease(scene: Scene) -> None:
    ec2_, table, far = scene.vpc.client, scene.vpc.tables["a"], scene.vpc.instances["node-2"]
    ec2_.create_route(RouteTableId=table, DestinationCidrBlock=INSIDE["node-2"], NetworkInterfaceId=far.interface)
    ec2_.terminate_instances(InstanceIds=[far.id])
    [found] = ec2_.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert [r["State"] for r in found["Routes"]] == ["active", "blackhole"]
    scene.territory = msgspec.structs.replace(scene.territory, sweeps=True)
    scene.learn()
    for _ in range(2):
        assert scene.resync() == []
        scene.now += 60
    assert set(scene.vpc.routes("a")) == {INSIDE["node-2"]}
    holders = {s: n for s, n in scene.territory.holders.items() if n != "node-2"}
    scene.territory = msgspec.structs.replace(scene.territory, holders=holders)
    for _ in range(2):
        assert scene.resync() == []
        scene.now += 60
    assert scene.vpc.routes("a") == {}


def test_a_full_table_is_that_routes_trouble_and_no_others(scene: Scene) -> None:
    scene.learn()
    scene.strict.limit = 1  # the VPC's own
    scene.want(VpcInterface(place=scene.me.interface), scene.route(), scene.route(table="b"))
    told = scene.resync()
    assert told == 2 * ["the route table is full: have its quota raised (Service Quotas, VPC, routes per route table)"]
    assert not scene.vpc.checked("node-1"), "all else is done"


def test_too_many_calls_are_told_and_waited_for(scene: Scene) -> None:
    scene.learn()
    scene.strict.every = 2
    scene.want(scene.route(), scene.route(table="b"))
    assert scene.resync() == []
    assert scene.strict.throttled >= 1
    assert scene.vpc.routes("a") == scene.vpc.routes("b") == {INSIDE["node-1"]: scene.me.interface}


def test_what_is_not_permitted_is_named(scene: Scene) -> None:
    scene.learn()
    scene.strict.forbidden = {"CreateRoute"}
    scene.want(VpcInterface(place=scene.me.interface), scene.route())
    assert scene.resync() == [
        "the credentials do not permit ec2:CreateRoute: add it to the policy of the instance's role"
    ]
    assert not scene.vpc.checked("node-1")


def test_credentials_that_expire_are_looked_for_anew(scene: Scene) -> None:
    scene.learn()
    scene.want(scene.route())
    scene.strict.expired = True
    told = scene.resync()
    assert told and all(line.startswith("EC2 does not take the credentials, which may have expired") for line in told)
    scene.strict.expired = False
    scene.now += 100
    assert scene.resync() == []
    assert scene.vpc.routes("a") == {INSIDE["node-1"]: scene.me.interface}


def test_an_api_that_is_away_costs_one_call(scene: Scene) -> None:
    scene.learn()
    scene.want(scene.route())
    assert scene.resync() == []
    scene.want(scene.route(), scene.route(table="b"))
    scene.strict.away = True
    told = scene.resync()
    assert any("EC2 cannot be reached" in line for line in told)
    scene.strict.away = False
    scene.now += 100
    assert scene.resync() == []
    assert scene.vpc.routes("b") == {INSIDE["node-1"]: scene.me.interface}


def test_a_table_that_is_not_the_vpcs_is_named_with_those_that_are(scene: Scene) -> None:
    scene.learn()
    scene.want(msgspec.structs.replace(scene.route(), table="rtb-404"))
    scene.strict.forget()
    [told] = scene.resync()
    assert told.startswith(f"{scene.vpc.id} has no route table rtb-404: it has rtb-")
    assert "CreateRoute" not in scene.strict.made()


def test_another_region_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(Failed) as caught:
        scene.learn()
    assert str(caught.value).startswith(f"EC2 in region us-east-1 knows no route table of {scene.vpc.id}")


def test_without_credentials_it_says_what_to_do(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(Unavailable) as caught:
        scene.learn()
    assert str(caught.value).startswith("no credentials for EC2 (Unable to locate credentials")


def test_no_metadata_service(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with ec2.listening("127.0.0.1") as sock:
        nobody = f"http://127.0.0.1:{sock.getsockname()[1]}"
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody)
    with pytest.raises(Unsupported) as caught:
        scene.learn()
    assert str(caught.value).startswith(f"no metadata service answers at {nobody}")
    assert scene.strict.made() == {}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("document", "[1]"),
        ("document", "<html>"),
        ("interface-id", ""),
        ("subnet-id", "<html>log in</html>"),
        ("vpc-id", "vpc-1\nvpc-2"),
        ("vpc-ipv4-cidr-blocks", "ten"),
    ],
)
def test_a_metadata_service_that_talks_nonsense(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, path: str, said: str
) -> None:
    true = Metadata._tree
    monkeypatch.setattr(
        Metadata, "_tree", lambda self: {at: said if at.endswith(path) else text for at, text in true(self).items()}
    )
    with pytest.raises(Unavailable) as caught:
        scene.learn()
    assert str(caught.value).startswith("the metadata service at http://127.0.0.1") and "\n" not in str(caught.value)
    assert f"answers {said!r} to " in str(caught.value)


def test_an_address_of_no_interface(scene: Scene) -> None:
    scene.node = Node(name="node-1", addresses=(ip_interface("10.9.9.9/24"),), uplink="eth0")
    with pytest.raises(Unsupported, match=r"no network interface of this instance has 10\.9\.9\.9"):
        scene.learn()


def findings(scene: Scene) -> dict[str, tuple[str, str]]:
    return {found.check: (found.result, found.detail) for found in scene.remote.checkup()}


def test_the_doctor_tries_each_call_and_changes_nothing(scene: Scene) -> None:
    scene.learn()
    scene.want(scene.route(), scene.route(table="b"))
    scene.resync()
    scene.resync()
    before = scene.vpc.routes("a"), scene.vpc.checked("node-1")
    found = findings(scene)
    assert {check for check in found if check.startswith("permission")} == {
        "permission ec2:DescribeRouteTables",
        "permission ec2:DescribeNetworkInterfaces",
        "permission ec2:CreateRoute",
        "permission ec2:ReplaceRoute",
        "permission ec2:DeleteRoute",
        "permission ec2:ModifyNetworkInterfaceAttribute",
    }
    assert {result for result, _ in found.values()} == {"ok"}
    assert found[f"routes of {scene.vpc.tables['a']}"] == ("ok", "2 of IPv4, of 50 of each")
    assert (scene.vpc.routes("a"), scene.vpc.checked("node-1")) == before
    scene.strict.forbidden = {"ReplaceRoute", "ModifyNetworkInterfaceAttribute"}
    wrong = {check for check, (result, _) in findings(scene).items() if result == "error"}
    assert wrong == {"permission ec2:ReplaceRoute", "permission ec2:ModifyNetworkInterfaceAttribute"}


def test_the_doctor_tells_of_the_quota_in_advance(scene: Scene) -> None:
    scene.learn()
    scene.want(scene.route())
    scene.resync()
    for number in range(40):
        scene.vpc.client.create_route(
            RouteTableId=scene.vpc.tables["a"],
            DestinationCidrBlock=f"40.15.{100 + number}.0/24",
            NetworkInterfaceId=scene.vpc.instances["node-2"].interface,
        )
    scene.resync()
    assert findings(scene)[f"routes of {scene.vpc.tables['a']}"] == ("warning", "42 of IPv4, of 50 of each")
    scene.strict.forbidden = {"GetServiceQuota"}
    result, detail = findings(scene)[f"routes of {scene.vpc.tables['a']}"]
    assert result == "ok" and detail.startswith("42 of IPv4; the quota is not known")


class Paged(Ec2):
    """In pages, as EC2 answers (moto gives all at once)."""

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        begin, size = int(parameters.pop("NextToken", 0)), parameters.get("MaxResults", 0)
        answer = await super().call(operation, **parameters)
        if operation != "describe_route_tables":
            return answer
        tables = answer["RouteTables"]
        more = {"NextToken": str(begin + size)} if begin + size < len(tables) else {}
        return {"RouteTables": tables[begin : begin + size], **more}


def test_a_vpc_with_many_tables_is_read_in_pages(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "PAGE", 5)
    monkeypatch.setattr(aws, "Ec2", Paged)
    many = [scene.vpc.client.create_route_table(VpcId=scene.vpc.id)["RouteTable"]["RouteTableId"] for _ in range(6)]
    scene.strict.forget()
    scene.learn()
    assert scene.strict.made() == {"DescribeRouteTables": 2}
    scene.want(*(msgspec.structs.replace(scene.route(), table=table) for table in many))
    assert scene.resync() == []
    scene.strict.forget()
    assert scene.resync() == []
    assert scene.strict.made() == {"DescribeRouteTables": 2}, "all of them were found"
