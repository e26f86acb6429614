"""Probes on the wire: what is not ours, not whole, or of another version is refused."""

from __future__ import annotations

import msgspec
import pytest

from weft.base.errors import Invalid
from weft.paths import probe
from weft.paths.channels import Channel
from weft.paths.probe import Probe, Report

KEY = b"k" * 32
PROBE = Probe("a", "b", 1, 2, True, 0, "", tuple(Report(sent=n) for n in Channel), probe.numbers([1, 8, 1023]))


@pytest.mark.parametrize("size", [0, 576, 1450, 8950])
@pytest.mark.parametrize("key", [KEY, b""])
def test_there_and_back(size: int, key: bytes) -> None:
    frame = probe.frame(probe.seal(PROBE), Channel.SLEEVE_FULL, size, key)
    assert len(frame) >= size
    assert not size or len(frame) == size
    assert probe.read(frame, key) == (Channel.SLEEVE_FULL, PROBE)
    assert probe.read(frame + bytes(30), key)  # a device pads what is short


@pytest.mark.parametrize("cut", [10, 30, 100, 575])
def test_cut_off(cut: int) -> None:
    frame = probe.frame(probe.seal(PROBE), Channel.KERNEL, 576, KEY)
    with pytest.raises(Invalid):
        probe.read(frame[:cut], KEY)


def test_each_octet_that_says_something_is_covered() -> None:
    frame = probe.frame(probe.seal(PROBE), Channel.KERNEL, 0, KEY)
    for place in range(len(frame)):
        bent = bytearray(frame)
        bent[place] ^= 1
        with pytest.raises(Invalid):
            probe.read(bytes(bent), KEY)


def test_another_secret() -> None:
    with pytest.raises(Invalid, match="another mesh secret"):
        probe.read(probe.frame(probe.seal(PROBE), Channel.KERNEL, 0, KEY), b"")


@pytest.mark.parametrize("changed", [{"reports": ()}, {"way": 9}, {"uid": "x"}])
def test_another_version(changed: dict[str, object]) -> None:
    other = msgspec.structs.replace(PROBE, **changed)
    with pytest.raises(Invalid, match="another version"):
        probe.read(probe.frame(probe.seal(other), Channel.KERNEL, 0, KEY), KEY)


def test_who_is_reached() -> None:
    assert [number for number in range(1024) if probe.among(number, PROBE.reach)] == [1, 8, 1023]
    assert not probe.among(5, b"")
