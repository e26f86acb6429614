"""`weft netns` and `weft links` on a host with a thousand network namespaces, beside shell scripts that visit them one by one.

The host is a network, mount and pid namespace of its own: each of the thousand is a name in /run/netns with an eth0 whose other
end is a port of one bridge. The scripts do what is done without such a tool: enter each namespace and run `ip`, and look for an
ifindex by `grep`. What they find by it is not certain to be the other end; what is compared is the time.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from bench.figures import Figure, Goal, Named, paired
from weft.base.errors import Failed
from weft.lab.process import children

Progress = Callable[[str], None]
SCRIPT = "shell script"
_SECONDS = 1.0


class Effort(msgspec.Struct, frozen=True):
    namespaces: int = 1000
    rounds: int = 5


class Spent(msgspec.Struct, frozen=True):
    """Seconds; `cpu`: of processors."""

    time: float
    cpu: float


QUICK = Effort(rounds=2)

_HOST = """
mount -t tmpfs none /run && mkdir /run/netns && ip link add br0 type bridge || exit
for i in $(seq {count}); do echo "netns add c$i"; done | ip -batch - || exit
for i in $(seq {count}); do
    echo "link add v$i master br0 type veth peer name eth0 netns c$i"
done | ip -batch - || exit
echo ready
read -r _
"""
_EACH = "for ns in /run/netns/*; do nsenter --net=$ns {command}; done"
_LINKS = "(ip -o link; " + _EACH.format(command="ip -o link") + ")"
TASKS: dict[str, tuple[Sequence[str], str]] = {
    "list namespaces": (
        ("netns", "ls"),
        "stat -L -c '%i %n' /proc/[0-9]*/ns/net /run/netns/*; " + _EACH.format(command="ip -br link"),
    ),
    "list links": (("links",), _LINKS),
    "find an other end": (("links", "eth0", "--in", "c{half}"), _LINKS + " | grep '^{index}:'"),
}
"""What is done: by Weft, and by a script."""


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress(f"inspect: {effort.namespaces} namespaces")
    found: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in TASKS}
    with host(_HOST.format(count=effort.namespaces)) as pid:
        places = {"half": str(effort.namespaces // 2), "index": _index(pid, effort.namespaces // 2)}
        for number in range(effort.rounds + 1):
            progress(f"inspect: round {number} of {effort.rounds}")
            for name, (words, script) in TASKS.items():
                ours = timed(pid, [sys.executable, "-m", "weft", *(word.format(**places) for word in words)])
                if number:  # the first warms up
                    found[name].append((ours, timed(pid, ["sh", "-c", script.format(**places)])))
    group = f"{effort.namespaces:,} network namespaces"
    return [
        figure
        for name, spent in found.items()
        for figure in figures(group, name, SCRIPT, spent, Goal("value", most=_SECONDS))
    ]


def figures(group: str, name: str, against: str, spent: Sequence[tuple[Spent, Spent]], goal: Goal) -> Iterator[Figure]:
    """`spent`: by us, and by what it is compared with."""
    ours, theirs = [our for our, _ in spent], [their for _, their in spent]
    took = [each.time for each in ours], [each.time for each in theirs]
    used = [each.cpu for each in ours], [each.cpu for each in theirs]
    yield paired(Named(group, name, "s", against), *took, goal)
    yield paired(Named(group, f"{name}: CPU time", "s", against), *used)


@contextmanager
def host(script: str) -> Iterator[int]:
    """A host that this script makes, which says when it is ready. The pid of its first process. Raises Failed."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with subprocess.Popen(
        [*command, "bash", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stderr
        try:
            if process.stdout.readline() != "ready\n":
                raise Failed(f"no host for the benchmark: {' | '.join(process.stderr.read().splitlines()[-3:])}")
            yield children(process.pid)[0]
        finally:
            process.kill()


def inside(pid: int, words: Sequence[str]) -> str:
    entered = ["nsenter", "--target", str(pid), "--net", "--mount", "--pid", *words]
    done = subprocess.run(entered, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise Failed(f"{words[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def timed(pid: int, words: Sequence[str]) -> Spent:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    inside(pid, words)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _index(pid: int, number: int) -> str:
    return inside(pid, ["ip", "-o", "link", "show", f"v{number}"]).partition(":")[0]
