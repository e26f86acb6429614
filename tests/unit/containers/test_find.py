"""What is given as a container may be any file of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weft.base.errors import NotFound
from weft.containers import find as containers
from weft.kernel.plumbing import netns


@pytest.fixture(params=["fifo", "device", "file", "folder", "socket", "link", "another namespace"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    made = tmp_path / "made"
    match request.param:
        case "fifo":
            os.mkfifo(made)  # without a writer: whoever opens it to read waits for ever
        case "device":
            return "/dev/null"
        case "file":
            made.touch()
        case "folder":
            made.mkdir()
        case "socket":
            os.mknod(made, 0o140600)
        case "link":
            os.mkfifo(tmp_path / "fifo")
            made.symlink_to(tmp_path / "fifo")
        case "another namespace":
            return "/proc/self/ns/uts"
    return str(made)


def test_only_a_network_namespace_is_opened(path: str) -> None:
    with pytest.raises(NotFound):
        containers.find(path)
    assert not netns.exists(path)


@pytest.mark.parametrize(
    "reference", ["/run/netns/a\0b", "a\0b", "\0", "a\nb", "\x1b[2J", "\udcff", "", "٣", ".", ".."]
)
def test_a_strange_name_is_not_found_in_one_line(reference: str) -> None:
    with pytest.raises(NotFound) as caught:
        containers.find(reference)
    assert str(caught.value).isprintable()


def test_the_own_namespace_is_opened() -> None:
    for path in ("", "/proc/self/ns/net", f"/proc/{os.getpid()}/ns/net"):
        fd = netns.open_path(path)
        assert str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("net:")
        os.close(fd)
