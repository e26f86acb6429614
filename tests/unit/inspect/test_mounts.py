"""Namespaces that bind mounts keep."""

from __future__ import annotations

import pytest

from weft.inspect import mounts
from weft.inspect.mounts import Mount

MOUNTINFO = rb"""22 28 0:21 / /proc rw,nosuid - proc proc rw
510 400 0:4 net:[4026532281] /run/netns/c1 rw shared:12 - nsfs nsfs rw
511 400 0:4 net:[4026532999] /run/docker/netns/1-abcdef0123 rw - nsfs nsfs rw
512 400 0:4 mnt:[4026533000] /run/snapd/ns/lxd.mnt rw - nsfs nsfs rw
513 400 0:4 net:[4026533001] /run/netns/with\040blank\134 rw - nsfs nsfs rw
"""


def test_network_namespaces_are_found_with_their_inodes() -> None:
    assert list(mounts.parse(MOUNTINFO)) == [
        Mount(4026532281, "/run/netns/c1"),
        Mount(4026532999, "/run/docker/netns/1-abcdef0123"),
        Mount(4026533001, "/run/netns/with blank\\"),
    ]


@pytest.mark.parametrize(
    "text", [b"", b"\n", b" nsfs \n", b"1 2 nsfs nsfs rw\n", b"22 28 0:21 / /proc rw - proc proc rw\n"]
)
def test_what_is_no_such_mount_is_none(text: bytes) -> None:
    assert list(mounts.parse(text)) == []


@pytest.mark.parametrize(
    ("path", "engine"),
    [
        ("/run/docker/netns/3f2a1b4c5d6e", "docker"),
        ("/var/run/docker/netns/ingress_sbox", "docker"),
        ("/proc/77/root/run/docker/netns/3f2a1b4c5d6e", "docker"),
        ("/run/netns/netns-0b2d0e32-9a57-7d1c-2f6e-a6b1f39de4cf", "podman"),
        ("/run/netns/cni-0b2d0e32-9a57-7d1c-2f6e-a6b1f39de4cf", "cni"),
        ("/run/netns/weft-blue", "weft"),
        ("/run/netns/c1", "ip-netns"),
        ("/run/netns/cni-mine", "ip-netns"),
        ("/srv/kept", ""),
    ],
)
def test_a_path_tells_who_made_it(path: str, engine: str) -> None:
    assert mounts.engine(path) == engine
