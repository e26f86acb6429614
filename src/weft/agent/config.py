"""The agent's settings: built-in values, then /etc/weft/weft.toml, then the command line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from weft.alloc.subnets import SUFFIX
from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name
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
    """Durations in seconds.

    `node`: "" is the host's name. `iface`: the uplink; "" is the device of the default route. `address`: the
    node's, one of each family at most; those of a family that is left out are chosen. `segment`: names this host's L2
    segment where on-link prefixes do not tell. `labels`: this node's, for selectors. `asn`: its autonomous system; 0: the
    cluster's. `presence_ttl`: how long after an agent's death its node counts as alive;
    `withdraw`: whether peers then drop their routes to it. `tenure`: how long a dead node's subnets stay its own.
    `control`: whether this host's containers may reach what controls the cluster: BGP, the store, the agents' metrics.
    `policy`: through what policy is enforced here: nftables or iptables.
    `gateway_subnet`, `gateway_subnet_v6`: this host's own, for containers' second interface where a network has no way out
    of itself (driver overlay). `resync`: interval of full comparisons with the kernel, and with what
    else networks are made in, such as a cloud's route tables. `block_idle`: how long a
    block of addresses stays this node's without a container in it. `dns_domain`: in which containers' names are, too; the same
    on all hosts; `dns_also`: another such one, "": none.
    `openstack_cloud`: which cloud of clouds.yaml networks in Neutron are in; "": what the variables OS_… say.
    `openstack_host`: this host's name in Neutron; "": the node's.
    `subnet_env`, `docker_opts`: files that say this host's subnet in a network of flannel's; "": none.
    `socket_mode`: octal, who may use
    the API. `mesh_secret`: a file with the secret that hosts of one cluster share: for the store mesh://, and for what is
    encrypted between hosts. `encrypt`: networks that are made here are encrypted between hosts, unless they say otherwise.
    `trusted_subnets`: whose hosts need not encrypt what they send each other; the same on all hosts. `encrypt_rotation`: how
    long keys of ESP are used; WireGuard changes its own every two minutes.
    """

    node: str = ""
    store: str = "sqlite:///var/lib/weft/weft.db"
    store_ca: str = ""
    store_cert: str = ""
    store_key: str = ""
    store_password_file: str = ""
    mesh_secret: str = ""
    encrypt: bool = False
    encrypt_rotation: float = 86_400.0
    trusted_subnets: tuple[str, ...] = ()
    iface: str = ""
    address: tuple[str, ...] = ()
    segment: str = ""
    labels: dict[str, str] = {}
    asn: int = 0
    metrics: str = ""
    control: str = "closed"
    policy: Literal["nftables", "iptables"] = "nftables"
    run_dir: str = "/run/weft"
    state_dir: str = "/var/lib/weft"
    socket: str = ""
    socket_mode: str = "0660"
    socket_group: str = ""
    gateway_subnet: str = "172.30.0.0/16"
    gateway_subnet_v6: str = "fd57:4546:54::/64"
    presence_ttl: float = 30.0
    withdraw: bool = True
    tenure: float = 86_400.0
    resync: float = 60.0
    block_idle: float = 60.0
    dns_domain: str = DOMAIN
    dns_also: str = ""
    openstack_cloud: str = ""
    openstack_host: str = ""
    subnet_env: str = ""
    docker_opts: str = ""
    log_format: str = "text"
    log_level: str = "info"

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


def load(path: Path | None, overrides: dict[str, object]) -> Config:
    """`path`: None is the default file, which may be missing. `overrides`: by field name. Raises Invalid."""
    settings = _read(path or DEFAULT_FILE, must_exist=path is not None)
    settings.update({name.replace("_", "-"): value for name, value in overrides.items() if value is not None})
    known = [f.encode_name for f in msgspec.structs.fields(Config)]
    for name in settings:
        if name not in known:
            raise Invalid(f"unknown setting '{name}': there are {', '.join(known)}")
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
