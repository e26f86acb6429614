"""IPVS in namespaces of ours: its settings, services and their destinations. A service takes its destinations along."""

from __future__ import annotations

from weft.hoststate import Ipvs, IpvsDestination, IpvsService
from weft.reconcile.kinds.kind import Kind, within
from weft.reconcile.kinds.shell import join, run_in
from weft.reconcile.protocol import Create, Op, Remove

SYSCTLS = {
    "net/ipv4/vs/conntrack": "conntrack",
    "net/ipv4/vs/expire_nodest_conn": "expire_nodest_conn",
    "net/ipv4/vs/sloppy_tcp": "sloppy_tcp",
}
"""Each with the field of `Ipvs` that it is."""


def _settings(op: Op, obj: Ipvs) -> list[str]:
    wanted = Ipvs(ns=obj.ns) if isinstance(op, Remove) else obj
    values = " ".join(f"{name}={getattr(wanted, field):d}" for name, field in SYSCTLS.items())
    return [
        "modprobe ip_vs",
        run_in(obj.ns, f"sysctl -w {values}"),
        run_in(obj.ns, f"ipvsadm --set {wanted.established} {wanted.closing} {wanted.udp}"),
    ]


def _service(op: Op, obj: IpvsService) -> list[str]:
    which = join(f"-f {obj.mark}", "-6" if obj.family == 6 else "")
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"ipvsadm -D {which}")]
    fallback = "-b mh-fallback" if obj.scheduler == "mh" else ""
    persistent = f"-p {obj.persistent}" if obj.persistent else ""
    return [run_in(obj.ns, join(f"ipvsadm {_verb(op, 'A', 'E')} {which} -s {obj.scheduler}", fallback, persistent))]


def _destination(op: Op, obj: IpvsDestination) -> list[str]:
    where = f"[{obj.address}]" if obj.family == 6 else obj.address
    which = join(f"-f {obj.mark}", "-6" if obj.family == 6 else "", f"-r {where}:{obj.port}")
    if isinstance(op, Remove):
        return [run_in(obj.ns, f"ipvsadm -d {which}")]
    return [run_in(obj.ns, f"ipvsadm {_verb(op, 'a', 'e')} {which} -m -w {obj.weight}")]


def _verb(op: Op, make: str, change: str) -> str:
    return f"-{make if isinstance(op, Create) else change}"


def _words(rest: list[str]) -> str:
    """As "mark 256 (IPv6)"; of a destination "mark 256 to 10.20.0.3 port 80"."""
    family, mark, *to = rest
    said = join(f"mark {mark}", f"to {to[0]}" if to else "", f"port {to[1]}" if to and to[1] != "0" else "")
    return said + (" (IPv6)" if family == "6" and not to else "")


IPVS = Kind(of=Ipvs, commands=_settings, told="never", words=lambda _rest: "settings")
SERVICE = Kind(
    of=IpvsService,
    commands=_service,
    carries=True,
    told="never",
    words=_words,
    needs=lambda obj: (*within(obj), ("ipvs", obj.ns)),
)
DESTINATION = Kind(
    of=IpvsDestination,
    commands=_destination,
    told="never",
    words=_words,
    hosts=lambda obj: (*within(obj), obj.service),
)
