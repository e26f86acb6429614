"""The agent's settings: built-in values, then /etc/weft/weft.toml, then the command line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from weft.agent.settings import commented, described, said
from weft.alloc.subnets import SUFFIX
from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name
from weft.base.nearby import meant_of
from weft.base.net import FAMILIES, IPAddress, IPNetwork, check_for_containers, parse_address, parse_network
from weft.dns.asker import DOMAIN, check_domain
from weft.model.codec import convert
from weft.store.url import StoreOptions

_MODE = re.compile(r"[0-7]{3,4}")
LONGEST = 1e9
"""Seconds of a duration: 30 years."""

METRICS_EXAMPLE = "127.0.0.1:9473"
"""Where metrics are served, as help and errors write it."""

DEFAULT_FILE = Path("/etc/weft/weft.toml")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Durations in seconds. Each setting says what it is; from there come /etc/weft/weft.toml and the docs' reference."""

    node: Annotated[
        str,
        said(
            "This host's name in the cluster, unique there. It stays until the host restarts, also when the host name changes.",
            unset="the host's name",
            example="node-1",
            begins="This host",
        ),
    ] = ""
    iface: Annotated[
        str,
        said(
            "The uplink: the interface by which this host reaches the others.",
            unset="the interface of the default route",
            example="eth0",
            live=True,
        ),
    ] = ""
    address: Annotated[
        tuple[str, ...],
        said(
            "This host's addresses, one of each family at most. Tunnels and routes of other hosts lead there.",
            unset="chosen among those of the uplink",
            example=("192.168.1.68", "fd00::68"),
            live=True,
        ),
    ] = ()
    segment: Annotated[
        str,
        said(
            "A name for the layer 2 segment that this host is on, where prefixes do not tell which hosts share one.",
            unset="hosts with a common prefix share a segment",
            example="rack-1",
            live=True,
        ),
    ] = ""
    labels: Annotated[
        dict[str, str],
        said(
            "This host's labels, for selectors. Hosts with the label route-reflector reflect BGP routes; voters of a mesh are "
            "spread over the values of the label zone, as it is when the agent starts.",
            unset="none",
            example={"zone": "a"},
            live=True,
        ),
    ] = {}
    asn: Annotated[
        int, said("This host's autonomous system, for BGP.", unset="the cluster's", example=64512, live=True)
    ] = 0
    store: Annotated[
        str,
        said(
            "Where the cluster's state is kept. One host alone: a file (sqlite:///PATH). An etcd: "
            "etcds://USER@HOST:PORT,HOST:PORT/PREFIX, or etcd:// without TLS. Without a server: mesh://HOST,HOST,HOST, "
            "the same on all hosts.",
            begins="The store of the cluster",
        ),
    ] = "sqlite:///var/lib/weft/weft.db"
    store_ca: Annotated[
        str,
        said(
            "The file with the certificate of who signed etcd's. It is read again with each new connection, and so are the "
            "three files below.",
            unset="the certificates that the system trusts",
            example="/etc/weft/store-ca.pem",
        ),
    ] = ""
    store_cert: Annotated[
        str,
        said("This host's own certificate, where etcd asks for one.", unset="none", example="/etc/weft/store-cert.pem"),
    ] = ""
    store_key: Annotated[str, said("The key of this certificate.", unset="none", example="/etc/weft/store-key.pem")] = (
        ""
    )
    store_password_file: Annotated[
        str,
        said(
            "The file with the password of the user in the store's URL, readable by root only.",
            unset="no password",
            example="/etc/weft/store-password",
        ),
    ] = ""
    mesh_secret: Annotated[
        str,
        said(
            "The file with the secret that all hosts of the cluster share, readable by root only: for the store mesh://, and "
            "for encryption between hosts.",
            unset="none",
            example="/etc/weft/mesh.secret",
        ),
    ] = ""
    encrypt: Annotated[
        bool,
        said(
            "Whether networks that are made on this host are encrypted between hosts, where they do not say otherwise. It "
            "needs mesh-secret.",
            live=True,
            begins="Encryption between hosts",
        ),
    ] = False
    encrypt_rotation: Annotated[
        float, said("Seconds for which keys of ESP are used. WireGuard changes its own every two minutes.", live=True)
    ] = 86_400.0
    trusted_subnets: Annotated[
        tuple[str, ...],
        said(
            "Hosts in these subnets need not encrypt what they send each other. The same on all hosts.",
            unset="none",
            example=("192.168.1.0/24",),
            live=True,
        ),
    ] = ()
    control: Annotated[
        str,
        said(
            '"open": containers of this host may reach what controls the cluster (BGP, the store, the agents\' metrics). '
            '"closed": they may not.',
            live=True,
            begins="Networks of containers",
        ),
    ] = "closed"
    policy: Annotated[
        Literal["nftables", "iptables"],
        said('By what policy is enforced on this host: "nftables", or "iptables" with ipset.'),
    ] = "nftables"
    gateway_subnet: Annotated[
        str,
        said(
            "This host's own subnet for the way out of networks that have none of their own (drivers overlay and mesh)."
        ),
    ] = "172.30.0.0/16"
    gateway_subnet_v6: Annotated[str, said("The same for IPv6.")] = "fd57:4546:54::/64"
    block_idle: Annotated[
        float, said("Seconds until a block of addresses without containers is given back to the cluster.", live=True)
    ] = 60.0
    dns_domain: Annotated[
        str,
        said("The domain in which names of containers are, too. The same on all hosts."),
    ] = DOMAIN
    dns_also: Annotated[
        str,
        said("A second such domain.", unset="none", example="weave.local"),
    ] = ""
    openstack_cloud: Annotated[
        str,
        said(
            "Which cloud of clouds.yaml Neutron is asked in (drivers neutron and neutron-routes).",
            unset="what the variables OS_CLOUD, OS_AUTH_URL and so on say",
            example="mycloud",
        ),
    ] = ""
    openstack_host: Annotated[
        str, said("This host's name in Neutron.", unset="the node's name", example="compute-1")
    ] = ""
    subnet_env: Annotated[
        str,
        said(
            "A file that tells other programs this host's subnet in a network of flannel's.",
            unset="no such file",
            example="/run/flannel/subnet.env",
            live=True,
        ),
    ] = ""
    docker_opts: Annotated[
        str,
        said(
            "The same as options of dockerd.",
            unset="no such file",
            example="/run/flannel/docker.env",
            live=True,
        ),
    ] = ""
    presence_ttl: Annotated[
        float,
        said(
            "Seconds after which the other hosts miss an agent that is silent.",
            begins="When a host is away",
        ),
    ] = 30.0
    withdraw: Annotated[
        bool,
        said(
            "Whether this host drops its routes to a host that is missed and does not answer it either.",
            live=True,
        ),
    ] = True
    tenure: Annotated[float, said("Seconds for which a dead host keeps its subnets and addresses.")] = 86_400.0
    resync: Annotated[
        float,
        said(
            "Seconds between full comparisons with the kernel, and with what else networks are made in, such as a cloud's "
            "route tables.",
            live=True,
        ),
    ] = 60.0
    metrics: Annotated[
        str,
        said(
            "The address and port where Prometheus' metrics are served over TCP. They are always served at the API's socket.",
            unset="not over TCP",
            example=METRICS_EXAMPLE,
            live=True,
            begins="The agent",
        ),
    ] = ""
    log_format: Annotated[str, said('"text" for people, "json" for collectors.', live=True)] = "text"
    log_level: Annotated[str, said('The least that is logged: "debug", "info", "warning" or "error".', live=True)] = (
        "info"
    )
    socket: Annotated[
        str, said("Where the API is served.", unset="weft.sock in run-dir", example="/run/weft/weft.sock")
    ] = ""
    socket_mode: Annotated[
        str, said("The file mode of the API's socket. Who may open it rules this host's networks.", live=True)
    ] = "0660"
    socket_group: Annotated[
        str, said("The group of the API's socket.", unset="the agent's own", example="weft", live=True)
    ] = ""
    run_dir: Annotated[str, said("The folder for what goes with the boot of the host.")] = "/run/weft"
    state_dir: Annotated[str, said("The folder for what stays.")] = "/var/lib/weft"

    def __post_init__(self) -> None:
        if self.node:
            check_name("node", self.node)
        if self.iface:
            check_ifname(self.iface)
        if len({a.version for a in self.fixed}) < len(self.fixed):
            raise Invalid(f"address {', '.join(self.address)}: give one of each family at most")
        if len(self.segment) > 63 or not self.segment.isprintable():
            raise Invalid(f"segment '{self.segment[:80]}': use at most 63 printable characters")
        _ = self.gateway_subnets
        check_domain(self.dns_domain)
        check_domain(self.dns_also or DOMAIN)
        _ = self.trusted
        for name, least in (
            ("presence_ttl", 2.0),
            ("tenure", 60.0),
            ("resync", 1.0),
            ("block_idle", 0.1),
            ("encrypt_rotation", 60.0),
        ):
            if getattr(self, name) < least:
                raise Invalid(f"{name.replace('_', '-')}={getattr(self, name):g} is too short: at least {least:g} s")
            if not getattr(self, name) <= LONGEST:
                raise Invalid(f"{name.replace('_', '-')}={getattr(self, name):g} is too long: at most {LONGEST:g} s")
        if self.control not in ("closed", "open"):
            raise Invalid(f"control '{self.control}': choose closed or open")
        if self.log_format not in ("text", "json"):
            raise Invalid(f"log-format '{self.log_format}': choose text or json")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise Invalid(f"log-level '{self.log_level}': choose debug, info, warning or error")
        if not _MODE.fullmatch(self.socket_mode):
            raise Invalid(f"socket-mode '{self.socket_mode}' is not an octal file mode, such as 0660")

    @property
    def fixed(self) -> tuple[IPAddress, ...]:
        """The node's addresses, as far as they are not left to Weft."""
        return tuple(parse_address(text) for text in self.address)

    @property
    def trusted(self) -> tuple[IPNetwork, ...]:
        return tuple(parse_network(text) for text in self.trusted_subnets)

    @property
    def gateway_subnets(self) -> tuple[IPNetwork, ...]:
        """One of each family."""
        found = parse_network(self.gateway_subnet), parse_network(self.gateway_subnet_v6)
        for fam, subnet in zip(FAMILIES, found, strict=True):
            check_for_containers(f"gateway-subnet{SUFFIX[fam]}", [subnet])
            if subnet.version != fam or subnet.prefixlen > subnet.max_prefixlen - 2:
                raise Invalid(
                    f"gateway-subnet{SUFFIX[fam]} '{subnet}' is not an IPv{fam} prefix with room for containers"
                )
        return found

    @property
    def socket_path(self) -> str:
        return self.socket or f"{self.run_dir}/weft.sock"


SETTINGS = described(Config)
"""What there is to set, in the file's order."""
HEAD = (
    "Settings of the Weft agent on this host. All are optional. A line that begins with # shows the default or an example: "
    "remove the # to set it. `systemctl reload weft-agent` applies what can change while the agent runs, and the log says "
    "what needs `systemctl restart weft-agent`; containers keep their connections in both. Options of `weft agent run` go "
    "before this file."
)


def text() -> str:
    """Of /etc/weft/weft.toml as it is installed: everything explained, and nothing set."""
    return commented(SETTINGS, HEAD)


def load(path: Path | None, overrides: dict[str, object]) -> Config:
    """`path`: None is the default file, which may be missing. `overrides`: by field name. Raises Invalid."""
    settings = _read(path or DEFAULT_FILE, must_exist=path is not None)
    settings.update({name.replace("_", "-"): value for name, value in overrides.items() if value is not None})
    known = [setting.name for setting in SETTINGS]
    for name in settings:
        if name not in known:
            raise Invalid(f"unknown setting '{name}': {meant_of(name.replace('_', '-'), known)}")
    return convert(Config, settings, strict=False)


def _read(path: Path, *, must_exist: bool) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if must_exist:
            raise Invalid(f"no configuration file {path}") from None
        return {}
    except (OSError, ValueError) as error:
        raise Invalid(f"{path}: {error}") from None


def store_options(config: Config) -> StoreOptions:
    return StoreOptions(
        password_file=config.store_password_file,
        ca=config.store_ca,
        cert=config.store_cert,
        key=config.store_key,
    )


def probe_key(config: Config) -> bytes:
    """By which hosts know each other's probes (`weft.paths`); empty where they share no secret. Raises Invalid, Denied."""
    if not config.mesh_secret:
        return b""
    from weft.mesh.secret import read  # its library need not be there

    return read(config.mesh_secret).key("paths")
