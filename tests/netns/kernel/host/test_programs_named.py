"""Programs at devices have the names that they were loaded with, and those of the fast path take no packet away."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.namespaces import Home
from weft.bpf.assembler import Program
from weft.bpf.layout import FAST, SEEN
from weft.kernel.host.dump import dump
from weft.kernel.plumbing import bpf


@pytest.fixture
def device(netns: Home) -> int:
    if not _tcx():
        pytest.skip("the kernel has no tcx")
    netns.run("ip", "link", "add", "va", "type", "veth", "peer", "name", "vb")
    return socket.if_nametoindex("va")


def _tcx() -> bool:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 6)


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _load(held: ExitStack, name: str) -> int:
    program = Program()
    program.end()
    fd = bpf.load(program.octets(), name)
    held.callback(os.close, fd)
    return fd


def test_ours_are_known_by_their_names(device: int, held: ExitStack) -> None:
    held.callback(os.close, bpf.attach(_load(held, FAST), device, "ingress"))
    held.callback(os.close, bpf.attach(_load(held, "stranger"), device, "ingress"))
    held.callback(os.close, bpf.attach(_load(held, SEEN), device, "egress"))
    found = {link.name: link for link in dump("node-1", {}).namespaces[0].links}
    told = [(program.at, program.name, program.judged) for program in found["va"].programs]
    assert told == [("ingress", FAST, "accept"), ("ingress", "stranger", ""), ("egress", SEEN, "accept")]
    assert found["va"].programs[1].text == "tcx program stranger"
    assert found["vb"].programs == ()


def test_a_map_of_very_many_is_read_at_once(held: ExitStack) -> None:
    fd = bpf.create_map("hash", 5, 12, 20_000, "weft_test")
    held.callback(os.close, fd)
    wanted = {n.to_bytes(5, "big"): n.to_bytes(12, "big") for n in range(10_000)}
    for key, value in wanted.items():
        bpf.update(fd, key, value)
    found = list(bpf.many(fd, 5, 12))
    assert len(found) == len(wanted)
    assert dict(found) == wanted


def test_an_empty_map(held: ExitStack) -> None:
    fd = bpf.create_map("lru_hash", 16, 40, 100, "weft_test")
    held.callback(os.close, fd)
    assert list(bpf.many(fd, 16, 40)) == []
