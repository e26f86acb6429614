"""What the pump goes by for frames: the commands for it, run on a file, do what the kernel adapter does."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from weft.hoststate import Object, Sleeve, SleeveHost, SleeveStation
from weft.hoststate.paths import ALL
from weft.kernel.kinds import tunnel
from weft.reconcile.kinds.table import describe
from weft.reconcile.kinds.tunnel import FOLDER
from weft.reconcile.protocol import Change, Create, Op, Remove
from weft.reconcile.render import commands
from weft.tunnel import sleeve

DEV, MAC = "weft.slv7", "02:42:0a:14:00:04"
SLEEVE = Sleeve(dev=DEV, network=7, number=3, local="192.168.1.68", mtu=1376)
SECRET = msgspec.structs.replace(SLEEVE, encrypted=True, mtu=1400)
HERE, THERE = SleeveStation(dev=DEV, mac=MAC, number=5), SleeveStation(dev=DEV, mac=MAC, number=6, direct=True)
MANY = [SleeveStation(dev=DEV, mac=ALL, number=number) for number in (5, 55, 6)]
HOST, RELAYED = (
    SleeveHost(number=5, remote="192.168.1.254"),
    SleeveHost(number=5, remote="192.168.0.33", via=6, mtu=1300),
)
OTHER = SleeveHost(number=55, remote="fd00::5")
STEPS: tuple[tuple[list[Op], set[Object]], ...] = (
    ([Create(SLEEVE), Create(HERE), *map(Create, MANY)], {SLEEVE, HERE, *MANY}),
    ([Create(HOST), Create(OTHER)], {SLEEVE, HERE, *MANY, HOST, OTHER}),
    ([Change(HERE, THERE), Change(HOST, RELAYED)], {SLEEVE, THERE, *MANY, RELAYED, OTHER}),
    ([Remove(MANY[0]), Remove(THERE), Change(SLEEVE, SECRET)], {SECRET, *MANY[1:], RELAYED, OTHER}),
    ([Remove(RELAYED), Remove(MANY[1]), Remove(MANY[2]), Remove(SECRET)], {OTHER}),
)


def known(folder: Path) -> set[Object]:
    return set(tunnel.read(folder).values())


def test_the_adapter_writes_what_it_reads(tmp_path: Path) -> None:
    for ops, expected in STEPS:
        assert list(tunnel.apply(tmp_path, ops)) == []
        assert known(tmp_path) == expected
    assert list(tunnel.apply(tmp_path, [Remove(OTHER)])) == []
    assert list(tmp_path.iterdir()) == []


def test_commands_do_the_same(tmp_path: Path) -> None:
    for ops, expected in STEPS:
        run([line for op in ops for line in commands(op)], tmp_path)
        assert known(tmp_path) == expected


def run(lines: Sequence[str], folder: Path) -> None:
    for line in lines:
        subprocess.run(["sh", "-c", line.replace(FOLDER, str(folder))], check=True)


def test_what_they_are_called() -> None:
    assert describe(SLEEVE.key) == f"sleeve {DEV}"
    assert describe(HERE.key) == f"sleeve-station {MAC} by {DEV}"
    assert describe(MANY[0].key) == f"sleeve-station {ALL} by {DEV} 5"
    assert describe(HOST.key) == "sleeve-host 5"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sleeve network 7 number 0 local 192.168.1.68 port 6783 mtu 1376 clear",
        "sleeve network 7 number 1024 local 192.168.1.68 port 6783 mtu 1376 clear",
        "sleeve network 16777216 number 3 local 192.168.1.68 port 6783 mtu 1376 clear",
        "sleeve network 7 number 3 local 192.168.1.68 port 65536 mtu 1376 clear",
        "sleeve network 7 number 3 local 192.168.1.68 port 6783 mtu 1376 perhaps",
        "sleeve network 7 number 3 local 192.168.1.68 port 6783 mtu 1376 clear\nstation nobody 5",
        f"sleeve network 7 number 3 local 192.168.1.68 port 6783 mtu 1376 clear\nstation {MAC} 0",
        f"sleeve network 7 number 3 local 192.168.1.68 port 6783 mtu 1376 clear\nhost {MAC} 5",
    ],
)
def test_what_is_no_table_says_so_and_stands_for_nothing(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"'"):
        sleeve.parse(text)
    (tmp_path / DEV).write_text(text)
    assert known(tmp_path) == set()


@pytest.mark.parametrize(
    "text", ["host", "host 0 192.0.2.1", "host 5 192.0.2.1 via x", "host 5 192.0.2.1 mtu", "host 5 192.0.2.1 by 6"]
)
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"'"):
        sleeve.parse_hosts(text)


def test_a_new_key_leaves_the_one_before_and_no_older(tmp_path: Path) -> None:
    assert sleeve.keys(tmp_path) == []
    for key in (b"one", b"two", b"two", b"three"):
        sleeve.give_key(tmp_path, key)
    assert sleeve.keys(tmp_path) == [b"three", b"two"]
    assert (tmp_path / sleeve.KEY).stat().st_mode & 0o777 == 0o600
    (tmp_path / sleeve.KEY).write_text("rubbish")
    sleeve.give_key(tmp_path, b"four")
    assert sleeve.keys(tmp_path) == [b"four"]
