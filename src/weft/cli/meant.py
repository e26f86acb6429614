"""What somebody may have meant who typed a command that there is not: words of other tools, and typing errors.

Nothing is run that was not typed: the answer is told, with all arguments in it, ready to be typed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches

Below = Callable[[tuple[str, ...]], Sequence[str]]
"""The commands of a group, () for those of `weft` itself; none where it is no group."""

PHRASES: tuple[tuple[str, str], ...] = (
    # Docker
    ("network connect NETWORK CONTAINER", "attach CONTAINER --network NETWORK"),
    ("network disconnect NETWORK CONTAINER", "detach CONTAINER --network NETWORK"),
    ("connect NETWORK CONTAINER", "attach CONTAINER --network NETWORK"),
    ("disconnect NETWORK CONTAINER", "detach CONTAINER --network NETWORK"),
    ("network attach NETWORK CONTAINER", "attach CONTAINER --network NETWORK"),
    ("network detach NETWORK CONTAINER", "detach CONTAINER --network NETWORK"),
    ("swarm init", "init"),
    ("swarm join HOST", "init --join HOST"),
    ("join HOST", "init --join HOST"),
    ("service ps SERVICE", "service show SERVICE"),
    ("service update SERVICE", "service set SERVICE"),
    ("exec CONTAINER", "netns CONTAINER --"),
    ("ps", "endpoint ls"),
    ("ls", "network ls"),
    ("inspect NETWORK", "network show NETWORK"),
    ("info", "status"),
    ("events", "flows -f"),
    ("stats", "flows"),
    # calicoctl
    ("node status", "bgp peers"),
    ("node diags", "support"),
    ("node run", "agent run"),
    ("ipam release", "ipam check --fix"),
    ("get bgpconfiguration", "bgp show"),
    ("get bgpconfigurations", "bgp show"),
    # Weave Net
    ("launch", "agent run"),
    ("status connections", "mesh peers"),
    ("status peers", "mesh status"),
    ("status ipam", "ipam show"),
    ("status dns", "endpoint ls"),
    ("connections", "mesh peers"),
    ("peers", "mesh peers"),
    ("dns-lookup NAME", "endpoint show NAME"),
    ("rmpeer NODE", "node rm NODE"),
    ("forget NODE", "node rm NODE"),
    ("report", "support"),
    ("reset", "agent purge"),
    ("setup-cni", "cni install"),
    # flannel
    ("flanneld", "agent run"),
    # What one may expect of any such tool
    ("run", "agent run"),
    ("daemon", "agent run"),
    ("start", "agent run"),
    ("purge", "agent purge"),
    ("uninstall", "agent purge"),
    ("diagnose", "doctor"),
    ("diags", "support"),
    ("bundle", "support"),
    ("drivers", "network drivers"),
    ("routes", "bgp routes"),
    ("explain A B", "policy explain A B"),
    ("label ENDPOINT", "endpoint label ENDPOINT"),
    ("move ENDPOINT", "endpoint move ENDPOINT"),
    ("traceroute A B", "trace A B"),
    ("ping A B", "trace A B --live"),
    ("test", "check"),
    ("health", "status --check"),
    ("up", "lab up"),
    ("down", "lab down"),
)
"""As typed, and as meant. Words in capitals stand for the user's own; what follows stays as it is."""

NOUNS = {
    "network": "net nets networks",
    "endpoint": "ep eps endpoints pod pods po container containers workload workloads workloadendpoint workloadendpoints wep",
    "service": "svc services vip vips",
    "policy": "np gnp netpol policies networkpolicy networkpolicies globalnetworkpolicy globalnetworkpolicies",
    "node": "no nodes host hosts peer hostendpoint hostendpoints",
    "pool": "ippool ippools pools",
    "bgp peer": "bgppeer bgppeers",
    "netns": "ns namespace namespaces",
    "links": "link interface interfaces device devices",
}
VERBS = {
    "show": "inspect describe get info view",
    "ls": "list get ps",
    "rm": "delete remove del destroy erase",
    "create": "add new make",
    "add": "create new make",
    "set": "update edit change modify patch configure",
    "label": "tag annotate",
    "attach": "connect plug",
    "detach": "disconnect unplug",
}
"""Words of Weft's, each with what others call it."""

OPTIONS = {
    "--output": "--format --out",
    "--label": "--filter --selector",
    "--set": "--opt --option --driver-opt",
    "--watch": "--follow",
    "--network": "--net",
    "--publish": "--port --expose",
    "--file": "--filename --from-file",
    "--ip": "--address --ip6",
    "--yes": "--assume-yes",
    "--force": "--now",
}


def meant(words: Sequence[str], below: Below) -> str:
    """What follows `weft`, as it may be meant; "" where nothing is near."""
    typed = list(words)
    found = _walk(_phrase(typed) or _noun_first(typed), below)
    return "" if found == typed else shlex.join(found)


def option_meant(option: str, known: Sequence[str]) -> str:
    """One of the `known` options; "" where none is near."""
    called = [ours for ours, others in OPTIONS.items() if option in others.split()]
    return next((ours for ours in (*called, *get_close_matches(option, known, 1)) if ours in known), "")


def _phrase(words: list[str]) -> list[str]:
    """Words that stand for one that is missing stay as they are: that is what is to be given."""
    for typed, wanted in PHRASES:
        pattern = typed.split()
        fixed = [word for word in pattern if not word.isupper()]
        given = words[len(fixed) : len(pattern)]
        if words[: len(fixed)] != fixed:
            continue
        if any(word.startswith("-") for word in given):
            given = []
        said = dict(zip(pattern[len(fixed) :], given, strict=False))
        return [*(said.get(word, word) for word in wanted.split()), *words[len(fixed) + len(given) :]]
    return []


def _noun_first(words: list[str]) -> list[str]:
    """`get pod/web`, `delete network blue`, as kubectl and calicoctl have it."""
    if len(words) < 2:
        return words
    verb, (what, slash, name) = words[0], words[1].lower().partition("/")
    noun = next((ours for ours, others in NOUNS.items() if what == ours or what in others.split()), "")
    if not noun or not (verb in VERBS or any(verb in others.split() for others in VERBS.values())):
        return words
    rest = [*([name] if slash else []), *words[2:]]
    if verb == "get" and (not rest or rest[0].startswith("-")):
        verb = "ls"
    return [*noun.split(), verb, *rest]


def _walk(words: list[str], below: Below) -> list[str]:
    """Word by word down the tree of commands, each that there is not in favour of one that is called so elsewhere, or nearly
    so. [] where there is none."""
    path: list[str] = []
    rest = list(words)
    while known := below(tuple(path)):
        if not rest or rest[0].startswith("-"):
            path += ["ls"] if "ls" in known and not {"--help", "-h"} & {*rest} else []
            break
        word = rest.pop(0)
        found = word if word in known else _called(word, known)
        if not found:
            return []
        path += found.split()
    return [*path, *rest]


def _called(word: str, known: Sequence[str]) -> str:
    """The one of `known` that is called so elsewhere, or nearly so."""
    theirs = {other: ours for other, ours in _theirs() if ours.split()[0] in known}
    near = get_close_matches(word.lower(), [*theirs, *known], 1)
    return theirs.get(near[0], near[0]) if near else ""


def _theirs() -> Iterator[tuple[str, str]]:
    """Last what comes first in the tables, so that it prevails."""
    for table in (VERBS, NOUNS):
        for ours, others in reversed(table.items()):
            for other in others.split():
                yield other, ours
