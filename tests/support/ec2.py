"""EC2 without EC2: moto's server behind what makes it as strict as the real one, and a metadata service.

moto overwrites routes silently, knows no limits, carries out dry runs, and leaves the routes of ended instances active.
`Strict` stands before it and does as EC2 does; it also throttles, forbids, expires credentials, and goes away on demand.
Both serve from threads of the test's own process, on sockets that may lie in another network namespace.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
from moto.ec2.models import ec2_backends  # type: ignore[import-untyped]
from moto.ec2.models.route_tables import Route  # type: ignore[import-untyped]
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # type: ignore[import-untyped]
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

ACCOUNT, REGION = "123456789012", "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session"}
METADATA = "169.254.169.254"

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


def listening(address: str, port: int = 0) -> socket.socket:
    """In the network namespace of the calling thread."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(64)
    return sock


@contextlib.contextmanager
def served(app: App, sock: socket.socket) -> Iterator[str]:
    """Its URL."""
    address, port = sock.getsockname()[:2]
    server: BaseWSGIServer = make_server(address, port, app, threaded=True, request_handler=_Quiet, fd=sock.fileno())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{address}:{port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        sock.close()


class Refused(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class Strict:
    """`limit`: routes of a family in a table. `every`: each n-th call is one too many; `rate`, `burst`: so many calls a second
    are not. `forbidden`: actions. `expired`: the credentials are. `away`: connections end without an answer.
    `calls`: when each came, and which."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.plain: App = DomainDispatcherApplication(create_backend_app)
        self._clock, self._lock = clock, threading.Lock()
        self.limit = 50
        self.every = 0
        self.rate, self.burst = 0.0, 0.0
        self._tokens, self._filled = 0.0, clock()
        self.forbidden: set[str] = set()
        self.expired = self.away = False
        self.calls: list[tuple[float, str]] = []
        self.throttled = 0

    def allow(self, rate: float, burst: float) -> None:
        """So many calls a second, and so many at once from now; 0: any number."""
        with self._lock:
            self.rate, self.burst, self._tokens, self._filled = rate, burst, burst, self._clock()

    # What tests look at.

    def made(self) -> Counter[str]:
        return Counter(action for _, action in self.calls)

    def forget(self) -> None:
        self.calls.clear()
        self.throttled = 0

    # As an application.

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        form.setdefault(
            "Action", environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        )  # of services that speak JSON
        if self.away:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        try:
            self._judge(form)
        except Refused as error:
            return _refuse(error, start)
        if name := _destination(form):  # EC2 masks host bits silently
            form[name] = str(ip_network(form[name], strict=False))
            body = urlencode(form).encode()
        found = list(self.plain({**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}, start))
        if form.get("Action") == "TerminateInstances":
            self._end({value for key, value in form.items() if key.startswith("InstanceId")})
        return found

    def _judge(self, form: dict[str, str]) -> None:
        action = form.get("Action", "")
        with self._lock:
            self.calls.append((self._clock(), action))
            if self._too_many():
                self.throttled += 1
                raise Refused("RequestLimitExceeded", "Request limit exceeded.", 503)
        if self.expired:
            raise Refused("RequestExpired", "Request has expired.")
        if action in self.forbidden:
            raise Refused("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
        if form.get("DryRun") == "true":
            raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        if action == "CreateRoute":
            self._create(form)

    def _too_many(self) -> bool:
        if self.every and len(self.calls) % self.every == 0:
            return True
        if not self.rate:
            return False
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def _create(self, form: dict[str, str]) -> None:
        table = ec2_backends[ACCOUNT][REGION].route_tables.get(form.get("RouteTableId", ""))
        name = _destination(form)
        if table is None or not name:
            return
        wanted = ip_network(form[name], strict=False)
        there = [ip_network(r.destination_ipv6_cidr_block or r.destination_cidr_block) for r in table.routes]
        if wanted in there:
            raise Refused("RouteAlreadyExists", f"The route identified by {wanted} already exists.")
        if sum(one.version == wanted.version for one in there) >= self.limit:
            raise Refused("RouteLimitExceeded", f"The maximum number of routes, {self.limit}, has been reached.")

    def _end(self, instances: set[str]) -> None:
        for eni in ec2_backends[ACCOUNT][REGION].enis.values():
            if eni.instance is not None and eni.instance.id in instances:
                _dead.add(eni.id)


_dead: set[str] = set()
Route.state = property(lambda r: "blackhole" if r.interface is not None and r.interface.id in _dead else "active")


def _destination(form: dict[str, str]) -> str:
    if not form.get("Action", "").endswith("Route"):
        return ""
    return next((name for name in ("DestinationCidrBlock", "DestinationIpv6CidrBlock") if name in form), "")


def _refuse(error: Refused, start: Callable[..., Any]) -> Iterable[bytes]:
    text = f"<Error><Code>{error.code}</Code><Message>{error}</Message></Error>"
    body = f"<Response><Errors>{text}</Errors><RequestID>test</RequestID></Response>".encode()
    start(f"{error.status} X", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    return [body]


# ------------------------------------------------------------------------------------------------------------- a VPC


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """`interface`: its ENI, which has `address`."""

    id: str
    interface: str
    subnet: str
    address: str


class Vpc(msgspec.Struct, kw_only=True):
    """`client`: boto3's, of somebody who is not Weft. `tables`: by segment."""

    client: Any
    id: str
    cidrs: tuple[str, ...]
    instances: dict[str, Instance] = {}
    tables: dict[str, str] = {}

    def routes(self, segment: str) -> dict[str, str]:
        """Destination → where it leads, of a segment's table; without the local ones."""
        [table] = self.client.describe_route_tables(RouteTableIds=[self.tables[segment]])["RouteTables"]
        return {
            r.get("DestinationCidrBlock") or r["DestinationIpv6CidrBlock"]: r.get(
                "NetworkInterfaceId", r.get("GatewayId", "")
            )
            for r in table["Routes"]
            if r.get("GatewayId") != "local"
        }

    def checked(self, node: str) -> bool:
        """Whether the source/destination check of its interface is on."""
        [found] = self.client.describe_network_interfaces(NetworkInterfaceIds=[self.instances[node].interface])[
            "NetworkInterfaces"
        ]
        return bool(found["SourceDestCheck"])


def client_of(url: str) -> Any:
    import boto3  # type: ignore[import-untyped]

    return boto3.client(
        "ec2",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="operator",
        aws_secret_access_key="operator",
    )


def make_vpc(client: Any, hosts: dict[str, tuple[str, str]], cidr: str = "192.168.0.0/16") -> Vpc:
    """`hosts`: node → (segment, address with prefix length). The first segment uses the main table, each other one its own."""
    vpc = client.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    found = Vpc(client=client, id=vpc, cidrs=(cidr,), instances={}, tables={})
    subnets: dict[str, str] = {}
    for name, (segment, address) in hosts.items():
        if segment not in subnets:
            block = str(ip_interface(address).network)
            subnets[segment] = client.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
            found.tables[segment] = _table(client, vpc, subnets[segment], main=not found.tables)
        ip = str(ip_interface(address).ip)
        [instance] = client.run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=subnets[segment], PrivateIpAddress=ip
        )["Instances"]
        [eni] = instance["NetworkInterfaces"]
        found.instances[name] = Instance(
            id=instance["InstanceId"], interface=eni["NetworkInterfaceId"], subnet=subnets[segment], address=ip
        )
    return found


def _table(client: Any, vpc: str, subnet: str, *, main: bool) -> str:
    if main:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
        [table] = client.describe_route_tables(Filters=filters)["RouteTables"]
        return str(table["RouteTableId"])
    made = str(client.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"])
    client.associate_route_table(RouteTableId=made, SubnetId=subnet)
    return made


# -------------------------------------------------------------------------------------------------- who an instance is


class Metadata:
    """IMDSv2 of instances: nothing is told without a token, and none is good for longer than it was asked for. `region`: as the
    identity document says. `away`: it answers nobody."""

    def __init__(
        self, vpc: Vpc, *names: str, region: str = REGION, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Of the instances of these names; by default of all, as if one instance had all their interfaces."""
        self._vpc, self._names, self._clock = vpc, names or tuple(vpc.instances), clock
        self._tokens: dict[str, float] = {}
        self.region, self.asked = region, 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ["PATH_INFO"]).rstrip("/")
        self.asked += 1
        if path == "/latest/api/token":
            return self._token(environ, start)
        if self._tokens.get(environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN", ""), 0.0) < self._clock():
            return _plain(start, "401 Unauthorized", "")
        text = self._tree().get(path.removeprefix("/latest/"))
        return _plain(start, "200 OK", text) if text is not None else _plain(start, "404 Not Found", "")

    def _token(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        seconds = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", "")
        if environ["REQUEST_METHOD"] != "PUT" or not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
            return _plain(start, "400 Bad Request", "")
        token = f"token-{len(self._tokens)}"
        self._tokens[token] = self._clock() + int(seconds)
        return _plain(start, "200 OK", token)

    def _tree(self) -> dict[str, str]:
        some = [self._vpc.instances[name] for name in self._names]
        macs = {f"02:00:00:00:00:{number:02x}": one for number, one in enumerate(some)}
        found = {
            "dynamic/instance-identity/document": msgspec.json.encode(
                {"region": self.region, "instanceId": some[0].id, "accountId": ACCOUNT, "privateIp": some[0].address}
            ).decode(),
            "meta-data/network/interfaces/macs": "\n".join(f"{mac}/" for mac in macs),
        }
        v4 = [c for c in self._vpc.cidrs if ip_network(c).version == 4]
        for mac, one in macs.items():
            at = f"meta-data/network/interfaces/macs/{mac}"
            found |= {
                f"{at}/interface-id": one.interface,
                f"{at}/subnet-id": one.subnet,
                f"{at}/vpc-id": self._vpc.id,
                f"{at}/local-ipv4s": str(ip_address(one.address)),
                f"{at}/vpc-ipv4-cidr-blocks": "\n".join(v4),
            }
        return found


def _plain(start: Callable[..., Any], status: str, text: str) -> Iterable[bytes]:
    body = text.encode()
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
