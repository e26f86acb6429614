"""Makes a lab's namespaces and wires them.

    init (pid, network and mount namespace; a user namespace too without root): the fabric
    ├── one bridge per segment, `seg-SEGMENT`
    ├── holder of node-1 (network, mount, uts): eth0 <─veth─> to-node-1, a port of its segment's bridge
    ├── …
    └── holder of the router: to-a <─veth─> rt-a, and so on for every segment

Everything hangs on init: when it ends, the kernel ends the rest of its pid namespace and the namespaces vanish.
Until `Fabric.keep` is called, init ends as soon as the process that started it does.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from weft.base.errors import Denied, Failed, Unsupported, WeftError
from weft.base.names import device
from weft.base.net import IPInterface
from weft.lab.inside import ENVIRONMENT, Inside, complaint
from weft.lab.process import Process, seen_from_outside
from weft.lab.topology import ROUTER, Place, Topology

UPLINK = "eth0"
_SCRIPTS = Path(__file__).parent
_NEEDED = (12, 21)  # CAP_NET_ADMIN, CAP_SYS_ADMIN in linux/capability.h
_PORT_MTU = 65535  # of the segments' side of each link, so that only the hosts' own MTU counts
_HOLD = """
script=$1 labdir=$2; shift 2
while [ $# -gt 0 ]; do unshare --net --mount --uts bash "$script" "$labdir" "$1" "$2" & shift 2; done
"""
# Without duplicate address detection (RFC 4862 §5.4) v6 works at once; a router needs its link-local address for that.
_CONFIGURE = """
for link; do echo 0 >"/proc/sys/net/ipv6/conf/$link/accept_dad"; done
exec ip -batch -
"""
_USERNS_SWITCHES = (
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "10000"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)
"""(sysctl, the value that forbids user namespaces, one that allows them); Debian's, the kernel's, Ubuntu's."""


@dataclass(frozen=True)
class Fabric:
    """`pipe`: closing it before `keep` ends the lab."""

    init: Process
    pipe: int

    def keep(self) -> None:
        os.write(self.pipe, b"stay\n")
        os.close(self.pipe)


def start(directory: Path, lock: int) -> Fabric:
    """Starts init, which inherits the lock on the directory. Raises Denied, Unsupported, Failed."""
    own_user = not _privileged()
    user = ["--user", "--map-root-user"] if own_user else []
    command = ["unshare", *user, "--net", "--mount", "--uts", "--pid", "--fork", "bash", str(_SCRIPTS / "init.sh")]
    reader, writer = os.pipe()
    # unshare waits for init; it is of no use afterwards, and ending it leaves init alone.
    with subprocess.Popen(
        [*command, str(directory)],
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[lock],
        start_new_session=True,
        cwd="/",
        env={**os.environ, ENVIRONMENT: str(directory)},
        text=True,
    ) as unshare:
        os.close(reader)
        assert unshare.stdout and unshare.stderr
        line = unshare.stdout.readline()
        if not line:
            os.close(writer)
            raise _refusal(complaint(unshare.stderr.read()), own_user)
        unshare.kill()
    init = Process.of(int(line))
    if init is None:
        os.close(writer)
        raise Failed("the lab's first process ended at once: see the kernel's log")
    return Fabric(init, writer)


def hold(fabric: Inside, topology: Topology) -> dict[str, int]:
    """Starts a holder for each name; their pids as seen in the lab."""
    names = topology.names()
    arguments = [text for name in names for text in (name, "1" if name == ROUTER else "0")]
    script = str(_SCRIPTS / "host.sh")
    result = fabric.run(["bash", "-c", _HOLD, "weft-lab", script, str(fabric.directory), *arguments], timeout=60)
    pids = {name: int(pid) for name, pid in (line.split() for line in result.stdout.splitlines())}
    missing = [name for name in names if name not in pids]
    if missing:
        raise Failed(f"{missing[0]}: its namespaces could not be made: {complaint(result.stderr) or 'no reason given'}")
    return pids


def wire(fabric: Inside, hosts: Mapping[str, Inside], topology: Topology, pids: dict[str, int]) -> None:
    """Segments and links, then each place's addresses and routes."""
    fabric.must("segments and links", ["ip", "-batch", "-"], input="\n".join(_links(topology, pids)))
    for place in topology.places():
        configure_uplink(hosts[place.name], topology, place)
    if topology.router:
        lines = [line for segment, on in topology.router.items() for line in _configured(_router_link(segment), on)]
        _configure(hosts[ROUTER], [_router_link(segment) for segment in topology.router], lines)


def holders(init: Process, pids: dict[str, int]) -> dict[str, Process]:
    seen = seen_from_outside(init)
    try:
        return {name: seen[pid] for name, pid in pids.items()}
    except KeyError:
        raise Failed("a host's holder ended while the lab was made: something ended it from outside") from None


def configure_uplink(inside: Inside, topology: Topology, place: Place) -> None:
    """Brings a place's uplink up, with its addresses and routes; doing it again is harmless."""
    routes = [
        f"route replace {prefix or ('default' if hop.version == 4 else '::/0')} via {hop} dev {UPLINK}"
        for prefix, hop in topology.routes(place)
    ]
    _configure(inside, [UPLINK], [*_configured(UPLINK, place.addresses), *routes])


def port(name: str) -> str:
    """The device that is the segment's end of a host's link."""
    return device("to-", name)


def _configured(link: str, addresses: tuple[IPInterface, ...]) -> Iterator[str]:
    yield f"link set {link} up"
    yield from (f"address replace {a} dev {link}" for a in addresses)


def _configure(inside: Inside, links: list[str], lines: list[str]) -> None:
    inside.must("addresses and routes", ["bash", "-c", _CONFIGURE, "weft-lab", *links], input="\n".join(lines))


def _links(topology: Topology, pids: dict[str, int]) -> Iterator[str]:
    for segment in topology.segments:
        yield f"link add {device('seg-', segment)} type bridge mcast_snooping 0"
        yield f"link set {device('seg-', segment)} up"
    for place in topology.places():
        yield from _link(port(place.name), place.segment, f"{UPLINK} mtu {place.mtu} netns {pids[place.name]}")
    for segment in topology.router:
        yield from _link(device("rt-", segment), segment, f"{_router_link(segment)} mtu 1500 netns {pids[ROUTER]}")


def _link(name: str, segment: str, peer: str) -> Iterator[str]:
    yield f"link add {name} mtu {_PORT_MTU} type veth peer name {peer}"
    yield f"link set {name} master {device('seg-', segment)} up"


def _router_link(segment: str) -> str:
    return device("to-", segment)


def _privileged() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return all(effective >> number & 1 for number in _NEEDED)


def _refusal(reason: str, own_user: bool) -> WeftError:
    """Why there is no lab, from what unshare or init.sh said."""
    if not own_user:
        return Denied(f"cannot make the lab's namespaces: {reason}: run it as root with all capabilities")
    for sysctl, forbids, allows in _USERNS_SWITCHES:
        path = Path("/proc/sys", *sysctl.split("."))
        if path.exists() and path.read_text().strip() == forbids:
            return Unsupported(
                f"a lab without root needs user namespaces, which are switched off here ({reason}): "
                f"run `sudo sysctl -w {sysctl}={allows}`, or the lab as root"
            )
    return Unsupported(f"a lab without root needs user namespaces, which this machine refuses: {reason}: use root")
