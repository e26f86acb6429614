"""The secret of a mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.base.errors import Invalid
from weft.mesh.secret import Secret, read


def test_each_purpose_has_a_key_of_its_own() -> None:
    one, other = Secret(b"x" * 32), Secret(b"y" * 32)
    keys = {s.key(purpose) for s in (one, other) for purpose in ("members", "voters")}
    assert len(keys) == 4 and one.key("members") == Secret(b"x" * 32).key("members")
    assert len(one.key("members", 36)) == 36 and "x" not in repr(one)


def test_white_space_around_it_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" 0123456789abcdef\r\n")
    file.chmod(0o600)
    assert read(str(file)).key("a") == Secret(b"0123456789abcdef").key("a")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"short", 0o600, "has 5 characters, at least 16"),
        (b"x" * 32, 0o644, "by other users"),
        (None, 0, "cannot be read"),
    ],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes | None, mode: int, said: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(Invalid, match=said):
        read(str(file))
    with pytest.raises(Invalid, match="--mesh-secret FILE"):
        read("")
