"""A real Docker Swarm of one node in a virtual machine of the tests': Debian's dockerd, a service and a client of it.

Everything of it is on a tmpfs, programs too: dockerd reads its own more often than a shared file system bears. Its rules are
made by iptables' old back end. AppArmor has to be off (`apparmor=0`), for there is no parser of its.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from support import images
from support.waiting import until

PROGRAMS = (
    "sbin/dockerd",
    "bin/containerd",
    "bin/containerd-shim-runc-v2",
    "sbin/runc",
    "bin/docker",
    "sbin/xtables-legacy-multi",
)
"""Below /usr."""
_XTABLES = Path("/usr/lib/x86_64-linux-gnu/xtables")
_MODULES = (
    "vxlan ip_vs ip_vs_rr xt_ipvs br_netfilter iptable_nat iptable_filter iptable_mangle xt_conntrack xt_MASQUERADE "
    "xt_addrtype xt_mark xt_nat xt_REDIRECT veth dummy"
)
_ADDRESS = "192.168.77.1"
_IMAGE = "weft-swarm"


class Swarm(msgspec.Struct):
    """`client`, `tasks`, `balancer`: paths of network namespaces. `vip`, `addresses`: the service's address, and its tasks'."""

    client: str
    tasks: list[str]
    balancer: str
    vip: str
    addresses: list[str]


@contextmanager
def swarm(folder: Path, tasks: int) -> Iterator[Swarm]:
    """In the network namespace of the process with number 1. `folder` is to be a tmpfs of some gigabytes."""
    env = _prepared(folder)
    with ExitStack() as stack:
        socket = folder / "containerd.sock"
        settings = folder / "containerd.toml"
        settings.write_text(_SETTINGS.format(folder=folder))
        stack.enter_context(_daemon(env, folder, "containerd", "-c", str(settings)))
        until(socket.exists, 600, lambda: f"containerd: {_end(folder, 'containerd')}")
        stack.enter_context(_daemon(env, folder, "dockerd", *_dockerd(folder, socket)))
        until(lambda: _docker(env, "version", check=False), 600, lambda: f"dockerd: {_end(folder, 'dockerd')}")
        yield _serving(env, folder, tasks)


def inside(namespace: str, *command: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={namespace}", *command], capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout


_SETTINGS = """
version = 2
root = "{folder}/root"
state = "{folder}/run"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
]
[grpc]
address = "{folder}/containerd.sock"
"""


def _prepared(folder: Path) -> dict[str, str]:
    for program in PROGRAMS:
        shutil.copy(f"/usr/{program}", folder)
    for name in ("iptables", "ip6tables"):
        (folder / name).symlink_to("xtables-legacy-multi")
    shutil.copytree(_XTABLES, folder / "xtables")
    subprocess.run(["modprobe", "--all", *_MODULES.split()], check=True, timeout=300)
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=True)
    for line in (
        "ip link add dum0 type dummy",
        f"ip address add {_ADDRESS}/24 dev dum0",
        "ip link set dum0 up",
        "ip link set lo up",
    ):
        inside("/proc/1/ns/net", *line.split())
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "XTABLES_LIBDIR": str(folder / "xtables"),
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
    }


def _dockerd(folder: Path, containerd: Path) -> list[str]:
    return [
        *("--containerd", str(containerd), "--exec-root", f"{folder}/exec", "--data-root", f"{folder}/data"),
        *("--storage-driver", "vfs", "--pidfile", f"{folder}/dockerd.pid", "--host", f"unix://{folder}/docker.sock"),
    ]


@contextmanager
def _daemon(env: dict[str, str], folder: Path, *command: str) -> Iterator[None]:
    with (folder / f"{command[0]}.log").open("w") as log:
        words = ["nsenter", "--net=/proc/1/ns/net", *command]
        process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _end(folder: Path, program: str) -> str:
    """Of its log."""
    return (folder / f"{program}.log").read_text()[-2000:]


def _docker(env: dict[str, str], *words: str, check: bool = True) -> str:
    """What it said; "" where it failed."""
    done = subprocess.run(["docker", *words], env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip() if done.returncode == 0 else ""


def _serving(env: dict[str, str], folder: Path, tasks: int) -> Swarm:
    _docker(env, "import", str(images.layer(folder)), _IMAGE)
    _docker(env, "swarm", "init", "--advertise-addr", _ADDRESS, "--listen-addr", _ADDRESS)
    network = _docker(env, "network", "create", "-d", "overlay", "net1")
    for name, number in (("web", tasks), ("client", 1)):
        words = ["--detach", "--no-resolve-image", "--name", name, "--network", "net1", "--replicas", str(number)]
        _docker(env, "service", "create", *words, _IMAGE, "sleep", "100000")
    until(lambda: len(_docker(env, "ps", "-q").split()) == tasks + 1, 900, "tasks of the Swarm")
    balancer = f"{folder}/exec/netns/lb_{network[:9]}"
    until(lambda: inside(balancer, "ipvsadm", "-Sn").count("-w 1") == tasks + 1, 240, "destinations of the Swarm's")
    (client,), servers = (_namespaces(env, name) for name in ("client", "web"))
    (vip, _) = _docker(env, "service", "inspect", "-f", "{{(index .Endpoint.VirtualIPs 0).Addr}}", "web").split("/")
    format = '{{(index .NetworkSettings.Networks "net1").IPAddress}}'
    addresses = [_docker(env, "inspect", "-f", format, name) for name in _containers(env, "web")]
    return Swarm(client, servers, balancer, vip, addresses)


def _containers(env: dict[str, str], service: str) -> list[str]:
    return _docker(env, "ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}").split()


def _namespaces(env: dict[str, str], service: str) -> list[str]:
    return [_docker(env, "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", c) for c in _containers(env, service)]
