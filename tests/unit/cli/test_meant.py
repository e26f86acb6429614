"""What somebody may have meant: typing errors, and words of other tools."""

from __future__ import annotations

import shlex

import pytest

from weft.cli.app import root
from weft.cli.groups import below
from weft.cli.meant import NOUNS, OPTIONS, PHRASES, VERBS, meant, option_meant

ROOT = root()


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("statsu", "status"),
        ("netwrok show blue", "network show blue"),
        ("netwrok inpsect blue -o json", "network show blue -o json"),
        ("networks", "network ls"),
        ("networks --no-headers", "network ls --no-headers"),
        ("zzz", ""),
        ("network zzz", ""),
        # Docker
        ("network inspect blue", "network show blue"),
        ("network remove blue --force", "network rm blue --force"),
        ("network list", "network ls"),
        ("network connect blue web --ip 10.20.1.2", "attach web --network blue --ip 10.20.1.2"),
        ("network connect --ip 10.20.1.2 blue web", "attach CONTAINER --network NETWORK --ip 10.20.1.2 blue web"),
        ("network disconnect blue web", "detach web --network blue"),
        ("network connect", "attach CONTAINER --network NETWORK"),
        ("inspect blue", "network show blue"),
        ("ps", "endpoint ls"),
        ("exec web ip addr", "netns web -- ip addr"),
        ("service update web --drain 10", "service set web --drain 10"),
        # kubectl
        ("get networks", "network ls"),
        ("get pods -o json", "endpoint ls -o json"),
        ("get pod web", "endpoint show web"),
        ("get pod/web", "endpoint show web"),
        ("describe svc front", "service show front"),
        ("delete netpol shop/web", "policy rm shop/web"),
        ("create network blue --driver vxlan", "network create blue --driver vxlan"),
        # calicoctl
        ("get bgppeers", "bgp peer ls"),
        ("get ippool", "pool ls"),
        ("node status", "bgp peers"),
        ("get workloadEndpoint", "endpoint ls"),
        # Weave Net, flannel
        ("launch", "agent run"),
        ("status connections", "mesh peers"),
        ("rmpeer node-3", "node rm node-3"),
        ("flanneld --iface eth0", "agent run --iface eth0"),
        # The user's own words stay one word each.
        ("network inspect 'a b'", "network show 'a b'"),
    ],
)
def test_near(typed: str, wanted: str) -> None:
    assert meant(shlex.split(typed), lambda way: below(ROOT, way)) == wanted


@pytest.mark.parametrize("wanted", sorted({wanted for _, wanted in PHRASES}))
def test_what_is_suggested_exists(wanted: str) -> None:
    words = [word for word in wanted.split() if not word.isupper() and not word.startswith("-")]
    assert words[-1] in below(ROOT, words[:-1]) or words == ["init"]  # which a command of its own brings


def test_words_of_our_own_exist() -> None:
    everything = {name for verb in below(ROOT, ()) for name in (verb, *below(ROOT, (verb,)))}
    assert {noun.split()[0] for noun in NOUNS} | {*VERBS} <= everything


def test_no_word_of_ours_is_called_something_else() -> None:
    """Such as `label`, `peer`: it would never be looked up."""
    top = {*below(ROOT, ())}
    assert [typed for typed, _ in PHRASES if typed in top] == []


@pytest.mark.parametrize(
    ("option", "known", "found"),
    [
        ("--wtach", ["--watch"], "--watch"),
        ("--format", ["--output"], "--output"),
        ("--zzz", ["--output"], ""),
    ],
)
def test_options(option: str, known: list[str], found: str) -> None:
    assert option_meant(option, known) == found


def test_option_names_have_two_dashes() -> None:
    assert all(name.startswith("--") for ours, others in OPTIONS.items() for name in (ours, *others.split()))
