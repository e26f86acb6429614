"""Runs a page of the documents: its commands in a lab's hosts, one after another, as a reader would type them.

`WEFT_DOCS=write` writes what came into the page where it shows something else, or `???`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from support.documents import INTERRUPTED, Block, Command, Page, pages
from support.reach import client
from support.transcript import Meanings, difference, fits
from support.waiting import until
from weft.api import types as t
from weft.base.errors import WeftError
from weft.lab import Lab
from weft.lab.process import children
from weft.model import Network
from weft.policy.model import TIERS

WRITE = os.environ.get("WEFT_DOCS") == "write"
LABS = ("reference", "machine")
STORES = ("sqlite", "etcd", "mesh")
DEFAULTS = {"lab": "reference", "store": "sqlite", "network": "", "containers": "", "attached": ""}
"""What a page may state, in a comment `<!-- scenario: KEY=VALUE … -->`. `lab`: `machine` is no lab, with `$ ` as a prompt of
this machine. `network=blue`: it is there already. `containers`, `attached`: HOST/NAME, network namespaces; the latter are in
blue."""
BLUE = Network(name="blue", driver="vxlan", subnets=(ip_network("10.20.0.0/16"), ip_network("fd00:20::/48")))
FILL = "???"
_SECONDS = 90.0  # for a command
_PATIENCE = 10.0  # for what only looks to show what it should: news of other hosts take a moment
_SETTLE = 3.0
_LOOKS = re.compile(
    r"(weft lab exec \S+ -- )?(ip netns exec \S+ )?"
    r"(weft (status|plan|doctor|trace|check|flows|netns|links|lab matrix|\w+ (ls|show|explain|counters|peers|routes|status))"
    r"|ping|curl|getent|ip|bridge|nft|tc|wg|cat|ipset|iptables|dig)\b(?!.* (add|set|del|flush|replace|insert|-[AID])\b)"
)
_SHELL = 'set -o pipefail; cd "$1" && eval "$2"'


def scenario(page: Page) -> dict[str, str]:
    """Complete. Raises ValueError: what there is not."""
    stated = page.scenario
    if unknown := sorted(set(stated) - set(DEFAULTS)):
        raise ValueError(f"{page.name}: a scenario has no attribute {unknown[0]}; it has {', '.join(DEFAULTS)}")
    whole = DEFAULTS | stated
    for key, allowed in (("lab", LABS), ("store", STORES), ("network", ("", BLUE.name))):
        if whole[key] not in allowed:
            raise ValueError(
                f"{page.name}: scenario {key}={whole[key]}: choose one of {', '.join(filter(None, allowed))}"
            )
    return whole


def standing_on(lab: str, store: str = "sqlite") -> list[Page]:
    """The pages that need such a lab."""
    found = [page for page in pages() if page.runs]
    return [page for page in found if (scenario(page)["lab"], scenario(page)["store"]) == (lab, store)]


class Differs(AssertionError):
    """A page shows something else than what came."""


@dataclass
class Stage:
    """Where a page's commands run. `lab`: None for this machine. `folder`: their working directory, the same on all hosts."""

    lab: Lab | None
    folder: Path
    nodes: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, command: str, host: str) -> subprocess.Popen[str]:
        argv = ["bash", "-c", _SHELL, "-", str(self.folder), command]
        if self.lab is None:
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            environment = {**os.environ, "PATH": path, **self.environment}
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
        inside = self.lab.inside(host or self.nodes[0])
        return inside.popen(argv, stderr=subprocess.STDOUT)

    def run(self, command: str, host: str = "") -> tuple[int, str]:
        with self.start(command, host) as process:
            try:
                printed, _ = process.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                _interrupt(process, signal.SIGKILL)
                raise Differs(f"`{command}` has not ended within {_SECONDS:.0f} s") from None
        return process.returncode, printed

    def must(self, command: str, host: str = "") -> str:
        status, printed = self.run(command, host)
        assert status == 0, f"{host}: {command}: {printed}"
        return printed

    def write(self, path: str, text: str) -> None:
        """A file in the working directory; or, with an absolute path, one of every node's own."""
        if not path.startswith("/"):
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        assert self.lab is not None and path.startswith(("/etc/", "/run/", "/var/lib/weft/")), (
            f"not the hosts' own: {path}"
        )
        for host in self.nodes:
            script = 'mountpoint -q /etc && mkdir -p "$(dirname "$1")" && cat >"$1"'
            self.lab.host(host).must(path, ["bash", "-c", script, "-", path], input=text)

    # What a page stands on.

    def prepare(self, wanted: dict[str, str]) -> None:
        attached = wanted["attached"].split()
        if self.lab is not None and (wanted["network"] or attached):
            client(self.lab, self.nodes[0]).create_network(BLUE)
            self.settle()
        for place in [*wanted["containers"].split(), *attached]:
            host, _, name = place.partition("/")
            self.must(f"ip netns add {name} && ip -n {name} link set lo up", host)
            if place in attached:
                self.must(f"weft attach {name} --network {BLUE.name}", host)
        if attached:
            self.settle()

    def settle(self) -> None:
        """A reader types slower than news travel: waits a moment for all agents that run."""
        with suppress(AssertionError):
            until(lambda: all(map(self._settled, self.nodes)), _SETTLE, "agents")

    def _settled(self, host: str) -> bool:
        assert self.lab is not None
        try:
            return client(self.lab, host).status().state == "converged"
        except WeftError:
            return True  # none runs there

    def clear(self) -> None:
        """All that a page may have left: processes, and what is in the lab."""
        for pid in _working_in(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.lab is None:
            return
        first = client(self.lab, self.nodes[0])
        for service in first.services():
            first.remove_service(f"{service.service.network}/{service.service.name}")
        for network in sorted(
            first.networks(brief=True), key=lambda each: each.name == BLUE.name
        ):  # others may share it
            first.remove_network(network.name, force=True)
        known = first.policies()
        written = [each.id for each in (*known.policies, *known.network_sets)]
        written += [f"namespace/{each.name}" for each in known.namespaces]
        built_in = {tier.name for tier in TIERS}
        written += [f"tier/{each.name}" for each in known.tiers if each.name not in built_in]
        if written:
            first.remove_policies(t.RemovePolicies(refs=tuple(written)))
        for peer in first.bgp_peers():
            first.remove_bgp_peer(peer.name)
        for host in self.lab.hosts.values():
            for name in host.containers():
                self.must(f"ip netns del {name}", host.name)
            self.must("conntrack -F", host.name)


def _working_in(folder: Path) -> Iterator[int]:
    """The processes that have this working directory, in whichever host."""
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdecimal() and (process / "cwd").readlink() == folder:
                yield int(process.name)


def play(page: Page, stage: Stage) -> None:
    """Raises Differs, with the page's line."""
    __tracebackhide__ = True
    stage.prepare(scenario(page))
    Player(page, stage).play()


@dataclass
class Player:
    page: Page
    stage: Stage
    meanings: Meanings = field(default_factory=Meanings)
    written: list[tuple[Command, list[str]]] = field(default_factory=list)

    def play(self) -> None:
        if self.stage.lab is not None:
            topology = self.stage.lab.topology
            addresses = [
                *(a for p in topology.places() for a in p.addresses),
                *(a for on in topology.router.values() for a in on),
            ]
            self.meanings.fix(*(str(address.ip) for address in addresses))
        try:
            for block in self.page.blocks:
                self._block(block)
        finally:
            self._save()

    def _block(self, block: Block) -> None:
        if block.title:
            self.stage.write(block.title, self.meanings.real_command(block.text))
        elif block.language == "console" and not block.notest:
            for command in block.commands():
                self._command(command)

    def _command(self, command: Command) -> None:
        text = self.meanings.real_command(command.text)
        looks = bool(_LOOKS.match(text)) and not command.interrupted
        deadline = time.monotonic() + (_PATIENCE if looks else 0)
        while True:
            status, printed = self._followed(command, text) if command.interrupted else self._ended(text, command.host)
            wrong = self._wrong(command, status, printed)
            if not wrong or time.monotonic() >= deadline or status == 2 or command.expected == (FILL,):
                break
        if self.stage.lab is not None and "weft " in text and not looks:
            self.stage.settle()
        if WRITE and wrong and (command.interrupted or status == command.status):
            self.written.append((command, [self.meanings.shown(line) for line in printed]))
        elif wrong:
            raise Differs(
                f"{self.page.name}:{command.line}: `{text}`{f' on {command.host}' if command.host else ''} {wrong}"
            )

    def _wrong(self, command: Command, status: int, printed: Sequence[str]) -> str:
        """What is not as the page has it; "" if nothing."""
        if not command.interrupted and status != command.status:
            return f"ended with exit status {status}, not {command.status}:\n" + "\n".join(printed)
        expected = command.expected[:-1] if command.interrupted else command.expected
        if not expected or fits(expected, printed, self.meanings):
            return ""
        return "printed something else (- the page, + what came):\n" + difference(expected, printed, self.meanings)

    def _ended(self, text: str, host: str) -> tuple[int, list[str]]:
        status, printed = self.stage.run(text, host)
        return status, _lines(printed)

    def _followed(self, command: Command, text: str) -> tuple[int, list[str]]:
        """Of one that goes on until it is interrupted: once what is expected has come, or after a while."""
        printed: list[str] = []
        with self.stage.start(text, command.host) as process:
            assert process.stdout is not None
            reader = threading.Thread(target=printed.extend, args=(process.stdout,))
            reader.start()
            expected = command.expected[:-1]

            def came() -> bool:
                return process.poll() is not None or fits(
                    expected, _lines("".join(printed)), Meanings(self.meanings.real)
                )

            with suppress(AssertionError):
                until(came, _PATIENCE, text)
            _interrupt(process, signal.SIGINT)
            reader.join(_SECONDS)
        return process.returncode, _lines("".join(printed))

    def _save(self) -> None:
        if not self.written:
            return
        lines = self.page.text.splitlines()
        for command, printed in reversed(self.written):
            lines[command.start : command.end] = [*printed, *([INTERRUPTED] if command.interrupted else [])]
        self.page.path.write_text("\n".join(lines) + "\n")


def _lines(printed: str) -> list[str]:
    text = printed.strip("\n")
    return [line.rstrip() for line in text.split("\n")] if text else []


def _interrupt(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """As a terminal does it: all that were started, the innermost first."""
    for pid in reversed(list(_descendants(process.pid))):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    if number is signal.SIGKILL:
        process.wait()


def _descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from _descendants(child)
