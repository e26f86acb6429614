"""Whole Debian hosts with a systemd of their own, booted by systemd-nspawn in about two seconds, side by side on one wire.

with machines(tmp_path, ["node-1", "node-2"], room()) as found:
    found["node-1"].sh("systemctl is-active dbus")
    found["node-2"].run(["ping", "-c1", found["node-1"].address])

A host's files are an overlay over a *room*: a Debian that is installed once on this machine and kept (`ROOMS`). What it writes
lies in the test's folder and is there again after `reboot`. All mounts are in mount namespaces of the hosts' own, and all
processes end with the test, however that ends; so nothing is left behind.

    node-1          node-2          node-3
    eth0 .11        eth0 .12        eth0 .13          10.99.0.0/24, fd99::/64
    ───┴───────────────┴───────────────┴─── lan .254: the namespace `wire`, where a test's other servers are
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from support.namespaces import Namespace
from support.waiting import until

ROOMS = Path("/var/tmp/weft-tests/rooms")
BASE = (
    "ca-certificates", "dbus", "iproute2", "iputils-ping", "kmod", "nftables", "procps", "python3", "systemd", "systemd-sysv",
)  # fmt: skip
"""Debian packages that are in every room."""
GATEWAY, GATEWAY6 = "10.99.0.254", "fd99::254"
BOOT = 60.0
"""Seconds; it takes about two where the machine is not busy."""
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def room(include: Iterable[str] = (), suite: str = "bookworm") -> Path:
    """The folder of a Debian with these packages and `BASE`, installed now if this machine has none yet (some minutes where
    it is busy). Nobody writes into it."""
    for tool in ("mmdebstrap", "systemd-nspawn"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: ./dev setup package")
    packages = sorted({*BASE, *include})
    folder = ROOMS / f"{suite}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    ROOMS.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _install(folder, packages, suite)
    return folder


def _install(folder: Path, packages: Sequence[str], suite: str) -> None:
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}", suite, str(fresh)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-2000:]}"
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        (fresh / name).unlink(missing_ok=True)
    (fresh / "etc/machine-id").touch()  # each host makes its own
    fresh.rename(folder)


class Machine:
    """`address`, `address6`: at eth0. `binds`: folders of this machine that it sees, read-only, and where."""

    def __init__(
        self, name: str, number: int, room: Path, folder: Path, wire: Namespace, binds: Mapping[Path, str]
    ) -> None:
        self.name, self.address, self.address6 = name, f"10.99.0.{10 + number}", f"fd99::{10 + number}"
        self._number, self._room, self._folder, self._wire, self._binds = number, room, folder, wire, binds
        self._ns: Namespace | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.leader = 0
        """The pid of its systemd, on this machine."""

    # Its life.

    def start(self) -> None:
        """Returns when it has booted. It has a network namespace of its own for this boot."""
        for part in ("upper", "work", "root"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        etc = self._folder / "upper/etc"
        etc.mkdir(exist_ok=True)
        (etc / "hostname").write_text(f"{self.name}\n")
        self._ns = self._plug_in()
        with (self._folder / "console").open("ab") as console, Path(self._ns.path).open() as net:
            self._process = subprocess.Popen(
                self._command(net.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[net.fileno()],
            )
        until(self._find_leader, BOOT, self._said)
        until(self._has_booted, BOOT, self._said)

    def kill(self) -> None:
        """Its power fails. Harmless if it is off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
        self._off()

    def stop(self) -> None:
        """It is shut down as an administrator would."""
        assert self._process is not None
        self.run(["systemctl", "poweroff"], check=False)
        self._process.wait(60)
        self._off()

    def reboot(self) -> None:
        self.stop()
        self.start()

    def _off(self) -> None:
        self._process, self.leader = None, 0
        if self._ns is not None:
            self._wire.run("ip", "link", "del", f"to-{self._number}", check=False)
            self._ns.close()
            self._ns = None

    def _plug_in(self) -> Namespace:
        ns, port = Namespace(), f"to-{self._number}"
        self._wire.sh(f"ip link add {port} type veth peer name eth0 netns {ns.path}")
        self._wire.sh(f"ip link set {port} master lan up")
        ns.sh(f"ip addr add {self.address}/24 dev eth0")
        ns.sh(f"ip addr add {self.address6}/64 dev eth0 nodad")
        ns.sh("ip link set eth0 up")
        ns.sh(f"ip route add default via {GATEWAY}")
        ns.sh(f"ip -6 route add default via {GATEWAY6}")
        return ns

    def _command(self, net: int) -> list[str]:
        """`net`: its network namespace, open as this. A pid namespace around nspawn ends all of the host with its first
        process, and that one ends with the test; nspawn alone would leave the host running."""
        upper, work, root, link = (self._folder / part for part in ("upper", "work", "root", "net"))
        link.touch()
        options = f"lowerdir={self._room},upperdir={upper},workdir={work}"
        script = 'mount -t overlay overlay -o "$1" "$2" && mount --bind "$3" "$4" && shift 4 && exec "$@"'
        nspawn = [
            "systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--register=no", "--keep-unit", "--capability=all",
            f"--network-namespace-path={link}", f"--machine={self.name}", "--console=pipe", "--resolv-conf=off",
            *(f"--bind-ro={source}:{target}" for source, target in self._binds.items()),
        ]  # fmt: skip
        return [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
            *("env", "-i", f"PATH={os.environ['PATH']}", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network"),
            *("sh", "-c", script, "sh", options, str(root), f"/proc/self/fd/{net}", str(link), *nspawn),
        ]

    def _find_leader(self) -> bool:
        """The first process of the innermost pid namespace: below unshare's is nspawn's, and below that the host's."""
        assert self._process is not None
        assert self._process.poll() is None, self._said()
        self.leader = next((pid for pid in _below(self._process.pid) if _depth(pid) == 3), 0)
        return self.leader != 0

    def _has_booted(self) -> bool:
        state = self.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        return state in ("running", "degraded")

    def _said(self) -> str:
        text = (self._folder / "console").read_text(errors="replace")
        return f"{self.name} has booted: {text[-3000:]}"

    # What is done in it.

    def run(
        self, command: Sequence[str], *, stdin: str = "", check: bool = True, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """As root, in all of its namespaces, with a login's environment. Fails where the command does, if `check`."""
        assert self.leader, f"{self.name} is off"
        environment = (f"{name}={value}" for name, value in _ENVIRONMENT.items())
        words = ["nsenter", "-t", str(self.leader), "--all", "env", "-i", *environment]
        words += ["sh", "-c", 'cd && exec "$@"', "sh", *command]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, timeout=seconds)
        assert not check or done.returncode == 0, (
            f"{self.name}: {' '.join(command)}: {done.returncode}: {done.stderr or done.stdout}"
        )
        return done

    def sh(self, script: str, *, seconds: float = 120) -> str:
        """What a shell script prints. Fails where it does."""
        return self.run(["sh", "-ec", script], seconds=seconds).stdout

    def file(self, path: str) -> Path:
        """A file of it, where this machine's programs find it."""
        assert self.leader, f"{self.name} is off"
        return Path(f"/proc/{self.leader}/root") / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        there = self.file(path)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)
        there.chmod(mode)

    def read(self, path: str) -> str:
        return self.file(path).read_text()

    def journal(self, unit: str, lines: int = 50) -> str:
        return self.sh(f"journalctl -u {unit} -n {lines} --no-pager -o cat")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and what it starts, are in its network namespace."""
        assert self._ns is not None
        with self._ns.entered():
            yield

    def unplug(self) -> None:
        self._wire.sh(f"ip link set to-{self._number} down")

    def plug(self) -> None:
        self._wire.sh(f"ip link set to-{self._number} up")


class Machines(dict[str, Machine]):
    """By name. `wire`: where they are joined; whoever listens there is reached at `GATEWAY`."""

    wire: Namespace


@contextlib.contextmanager
def machines(
    folder: Path, names: Sequence[str], room: Path, binds: Mapping[Path, str] | None = None
) -> Iterator[Machines]:
    """They boot one beside the other. `folder`: of the test, on a file system that overlays may lie on; not tmpfs' /dev/shm."""
    if os.geteuid() != 0:
        pytest.skip("booting hosts needs root")
    found = Machines()
    found.wire = Namespace()
    try:
        found.wire.sh("ip link add lan type bridge")
        found.wire.sh(f"ip addr add {GATEWAY}/24 dev lan")
        found.wire.sh(f"ip addr add {GATEWAY6}/64 dev lan nodad")
        found.wire.sh("ip link set lan up")
        for number, name in enumerate(names, 1):
            found[name] = Machine(name, number, room, folder / name, found.wire, binds or {})
            found[name].start()
        yield found
    finally:
        for machine in found.values():
            machine.kill()
        found.wire.close()


def _below(pid: int) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            yield child
            yield from _below(child)


def _depth(pid: int) -> int:
    """In how many pid namespaces it is, as the first one of the innermost; else 0."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        ids = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
        return len(ids) if ids[-1] == "1" else 0
    return 0
