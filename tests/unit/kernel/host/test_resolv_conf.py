"""The files by which commands of `ip netns exec` ask for names."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.base.errors import Invalid
from weft.kernel.host import resolv_conf
from weft.kernel.host.resolv_conf import MARK, name_at, write_files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(resolv_conf, "FOLDER", tmp_path / "netns")
    return tmp_path / "netns"


def test_it_comes_changes_and_goes(folder: Path) -> None:
    file = folder / "web" / "resolv.conf"
    assert write_files(["web"], "") == []
    assert file.read_text() == f"{MARK}nameserver 127.0.0.11\noptions ndots:0\n"
    assert write_files(["web"], "example.org example.net") == []
    assert "\nsearch example.org example.net\n" in file.read_text()
    assert write_files([], "") == []
    assert not file.parent.exists()


def test_what_is_somebody_else_s_stays(folder: Path) -> None:
    file = folder / "web" / "resolv.conf"
    file.parent.mkdir(parents=True)
    file.write_text("nameserver 192.0.2.1\n")
    assert write_files(["web"], "") == [f"{file} is there and not Weft's: it stays as it is"]
    assert write_files([], "") == [] and file.read_text() == "nameserver 192.0.2.1\n"


def test_a_link_that_leads_nowhere_is_somebody_else_s(folder: Path) -> None:
    file = folder / "web" / "resolv.conf"
    file.parent.mkdir(parents=True)
    file.symlink_to("../../run/not-there-yet")
    assert write_files(["web"], "") == [f"{file} is there and not Weft's: it stays as it is"]
    assert write_files([], "") == [] and file.is_symlink()


def test_of_ours_only_the_file_goes(folder: Path) -> None:
    write_files(["web"], "")
    (folder / "web" / "hosts").write_text("127.0.0.1 localhost\n")
    write_files([], "")
    assert [path.name for path in (folder / "web").iterdir()] == ["hosts"]


def test_what_cannot_be_written_is_told(folder: Path) -> None:
    folder.write_text("no folder")
    [told] = write_files(["web"], "")
    assert "web/resolv.conf cannot be written: " in told


def test_only_named_namespaces_have_one() -> None:
    assert name_at("/run/netns/web") == "web"
    for path in ("/proc/1/ns/net", "/run/docker/netns/web"):
        with pytest.raises(Invalid, match="leave out --dns"):
            name_at(path)
