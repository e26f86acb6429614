"""Keys of one host: what is made of what, and what is never made twice."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from weft.base.errors import Invalid
from weft.mesh.keys import HostKeys
from weft.mesh.rotation import prepare, tell
from weft.mesh.secret import Secret

SECRET = b"a secret that hosts share"


def keys(folder: Path, boot: str = "boot-1", secret: bytes = SECRET) -> HostKeys:
    return HostKeys(Secret(secret), folder / "wireguard.key", folder / "run", boot)


def test_the_private_key_is_made_once_and_for_root_alone(tmp_path: Path) -> None:
    made = keys(tmp_path)
    file = tmp_path / "wireguard.key"
    assert file.stat().st_mode & 0o777 == 0o600 and b64decode(file.read_bytes()) == made.private
    assert keys(tmp_path).public == made.public != keys(tmp_path / "other").public
    assert len(b64decode(made.public)) == 32


def test_nobody_reads_a_key_off_it(tmp_path: Path) -> None:
    made = keys(tmp_path)
    assert repr(made) == f"HostKeys({made.public})"


def test_a_file_that_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "wireguard.key").write_text("rubbish\n")
    with pytest.raises(Invalid, match=r"wireguard\.key is none: remove the file"):
        keys(tmp_path)


def test_the_preshared_key_is_the_same_at_both_ends_and_of_the_secret(tmp_path: Path) -> None:
    one, two, three = (keys(tmp_path / name) for name in ("one", "two", "three"))
    assert one.shared(two.public) == two.shared(one.public)
    assert len({one.shared(two.public), one.shared(three.public), two.shared(three.public)}) == 3
    assert keys(tmp_path / "one", secret=b"another secret of hosts").shared(two.public) != one.shared(two.public)


def test_a_key_of_esp_is_of_the_secret_and_its_recipe(tmp_path: Path) -> None:
    one, two = keys(tmp_path / "one"), keys(tmp_path / "two")
    assert one.esp("a b salt start") == two.esp("a b salt start") != one.esp("b a salt start")
    assert len(one.esp("a b salt start")) == 36
    assert keys(tmp_path / "one", secret=b"another secret of hosts").esp("a b salt start") != one.esp("a b salt start")


def test_a_recipe_is_used_once_whoever_asks(tmp_path: Path) -> None:
    """Also after the agent was started again."""
    one = keys(tmp_path)
    assert one.first_use("a") and one.first_use("b") and not one.used_twice
    again = keys(tmp_path)
    assert not again.first_use("a") and again.used_twice and again.first_use("c")
    assert not keys(tmp_path).first_use("c")


def test_what_was_drawn_stays_until_the_host_boots(tmp_path: Path) -> None:
    drawn = keys(tmp_path).drawn(5.0)
    assert keys(tmp_path).drawn(9.0) == drawn and drawn.since == 5.0
    changed = tell(prepare(drawn, "salt"), 10.0)
    keys(tmp_path).keep(changed)
    assert keys(tmp_path).drawn(11.0) == changed
    booted = keys(tmp_path, "boot-2").drawn(1.0)
    assert booted.start != drawn.start and not set(booted.salts) & {*drawn.salts, *changed.salts}


def test_a_damaged_file_is_drawn_anew(tmp_path: Path) -> None:
    drawn = keys(tmp_path).drawn(0.0)
    (tmp_path / "run" / "drawn").write_bytes(b"\0")
    assert keys(tmp_path).drawn(0.0).start != drawn.start
