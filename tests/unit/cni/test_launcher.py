from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from weft.base.errors import Failed, Invalid
from weft.cli import main
from weft.cni import launcher

VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def run(path: Path) -> dict[str, object]:
    """By the kernel, from its first line, with nothing in the environment but the command."""
    done = subprocess.run(
        [path], input="{}", capture_output=True, text=True, env={"CNI_COMMAND": "VERSION"}, check=True
    )
    assert done.stderr == ""
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_installed_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cni", "install", "--bin-dir", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == f"installed {tmp_path}/new/weft-cni\n"
    assert run(tmp_path / "new/weft-cni")["supportedVersions"] == VERSIONS
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["weft-cni"]


def test_installed_again(tmp_path: Path) -> None:
    old = tmp_path / "weft-cni"
    old.write_text("the one before")
    assert launcher.install(tmp_path) == old
    assert run(old)


def test_under_another_interpreter(tmp_path: Path) -> None:
    """Its own code is compiled for one version; for others it has the text."""
    path = launcher.install(tmp_path)
    text = path.read_text()
    magic = f"MAGIC_NUMBER == {launcher.importlib.util.MAGIC_NUMBER!r}"
    assert magic in text
    path.write_text(text.replace(magic, "MAGIC_NUMBER == b'another'"))
    assert run(path)["supportedVersions"] == VERSIONS


def test_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="cannot be written"):
        launcher.install(tmp_path / "file")
    with pytest.raises(Invalid, match="#! line"):
        launcher.launcher(Path("/opt/my python/bin/python3"))
