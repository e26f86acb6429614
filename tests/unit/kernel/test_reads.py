"""A read that fails is told, and never taken for "there is nothing"."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from weft.base.errors import Failed, Unsupported
from weft.hoststate import Sysctl
from weft.kernel.host import diagnose
from weft.kernel.kinds import iptables, nft, own_netns, sysctl
from weft.kernel.plumbing import nfnl, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import HEADER, Netlink, Refused
from weft.kernel.plumbing.tools import Output
from weft.reconcile.protocol import Remove

ITEM = 24  # any type that is none of netlink's own


def message(kind: int, seq: int, body: bytes = b"", flags: int = u.NLM_F_MULTI) -> bytes:
    return HEADER.pack(16 + len(body), kind, flags, seq, 0) + body


def done(seq: int, number: int = 0, flags: int = u.NLM_F_MULTI) -> bytes:
    return message(u.NLMSG_DONE, seq, struct.pack("=i", -number), flags)


class Socket:
    """A kernel that answers each dump with the datagrams that `answer` makes of its sequence number."""

    def __init__(self, answer: Callable[[int], list[bytes]]) -> None:
        self.answer = answer
        self.dumps = 0
        self.waiting: list[bytes] = []

    def getsockopt(self, *_: int) -> int:
        return 1 << 20

    def send(self, data: bytes) -> None:
        self.dumps += 1
        self.waiting += self.answer(HEADER.unpack_from(data)[3])

    def recv(self, _size: int) -> bytes:
        if not self.waiting:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return self.waiting.pop(0)


def dump(sock: Socket) -> list[bytes]:
    return Netlink(cast(Any, sock)).dump(ITEM, b"", lambda data, start, end: data[start:end])


def test_a_dump_that_is_interrupted_again_and_again_is_no_answer() -> None:
    sock = Socket(lambda seq: [message(ITEM, seq, b"part"), done(seq, flags=u.NLM_F_MULTI | u.NLM_F_DUMP_INTR)])
    with pytest.raises(Failed, match="changed meanwhile"):
        dump(sock)
    assert sock.dumps == 20


def test_a_dump_that_is_interrupted_once_is_repeated() -> None:
    sock = Socket(lambda seq: [message(ITEM, seq, b"all."), done(seq, flags=u.NLM_F_DUMP_INTR if seq == 1 else 0)])
    assert (dump(sock), sock.dumps) == ([b"all."], 2)


def test_a_dump_that_fails_halfway_is_no_answer() -> None:
    """The kernel says so in the message that ends it."""
    with pytest.raises(Refused) as refused:
        dump(Socket(lambda seq: [message(ITEM, seq, b"part"), done(seq, errno.EMSGSIZE)]))
    assert refused.value.errno == errno.EMSGSIZE


def test_a_table_that_does_not_exist_is_empty() -> None:
    assert dump(Socket(lambda seq: [done(seq, errno.ENOENT)])) == []


def test_what_is_left_of_an_earlier_dump_is_not_taken_for_this_one() -> None:
    stale = [message(ITEM, 77, b"old."), done(77)]
    assert dump(Socket(lambda seq: [*stale, message(ITEM, seq, b"new."), done(seq)])) == [b"new."]


def test_no_room_for_the_answer_is_no_answer() -> None:
    with pytest.raises(Failed, match="netlink: No buffer space"):
        dump(Socket(lambda _seq: []))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every program fails."""
    monkeypatch.setattr(tools, "run", lambda *_args: Output(1, "", "nobody knows why\n"))
    yield


class Rules(nfnl.Nftables):
    """A kernel with rules, which `dumps` or does not."""

    dumps: Callable[[], list[Any]]

    def __init__(self) -> None:
        self.netlink = None

    def generation(self) -> int | None:
        return 1

    def has_table(self, family: int, table: str) -> bool:
        return True

    def dump(self, kind: int, body: bytes, decode: Callable[[bytes, int, int], Any]) -> list[Any]:
        return Rules.dumps()


def test_rules_that_cannot_be_dumped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered of it; a table that was removed in between is no failure."""
    monkeypatch.setattr(nft, "Nftables", Rules)

    def refuse() -> list[Any]:
        raise Refused(errno.ENOMEM, "Cannot allocate memory")

    adapter = nft.Nft(lambda _pid: None, {})
    Rules.dumps = staticmethod(refuse)
    with pytest.raises(Refused, match="Cannot allocate memory"):
        adapter.read("")
    Rules.dumps = staticmethod(list)
    assert adapter.read("") == {}


@pytest.mark.parametrize("answer", [done(1, errno.ENOENT), message(u.NLMSG_ERROR, 1, struct.pack("=i", -errno.ENOENT))])
def test_a_table_of_rules_that_is_gone_is_empty(answer: bytes) -> None:
    class Found(nfnl.Nftables):
        def __init__(self) -> None:
            self.netlink = Netlink(cast(Any, Socket(lambda _seq: [answer])))

    assert Found().dump(u.NFT_MSG_GETSET, b"", lambda data, start, end: data) == []


@pytest.mark.usefixtures("failing")
def test_iptables_that_cannot_list_the_table() -> None:
    with pytest.raises(Failed, match="cannot be read: iptables-nft-save: nobody knows why"):
        iptables.save(iptables.Where("nft", 4))


def test_no_socket_to_ask_about_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Callable[[int], None]:
        def open_socket(_protocol: int) -> None:
            raise OSError(number, os.strerror(number))

        return open_socket

    monkeypatch.setattr(nfnl, "open_socket", refuse(errno.EMFILE))
    with pytest.raises(Failed, match="Too many open files"):
        nfnl.Nftables()
    monkeypatch.setattr(nfnl, "open_socket", refuse(errno.EPROTONOSUPPORT))
    assert nfnl.Nftables().generation() is None


def test_doctor_is_told_that_rules_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose.shutil, "which", lambda _name: "/bin/false")
    real = diagnose.subprocess.run
    monkeypatch.setattr(diagnose.subprocess, "run", lambda _command, **how: real(["false"], **how))
    with pytest.raises(Failed, match="the rules cannot be read"):
        diagnose.blocking_chains()


def test_a_namespace_of_ours_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "weft-blue").touch()

    class Spaces:
        def open(self, paths: list[str]) -> dict[str, Failed]:
            return {path: Failed("Too many open files") for path in paths}

    with pytest.raises(Failed, match="Too many"):
        own_netns.read(cast(Any, Spaces()), tmp_path)


def test_the_record_of_sysctls_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "sysctl.json").mkdir()
    with pytest.raises(Failed, match=r"cannot read .*sysctl\.json"):
        sysctl.Sysctls(tmp_path).record()


@pytest.mark.parametrize(("error", "told"), [(Failed("read-only"), True), (Unsupported("it is gone"), False)])
def test_a_sysctl_that_could_not_be_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: bool
) -> None:
    def refuse(_name: str, _value: str) -> None:
        raise error

    (tmp_path / "sysctl.json").write_text('{"net/ipv4/ip_forward": "0"}')
    monkeypatch.setattr(sysctl, "put", refuse)
    failure = sysctl.Sysctls(tmp_path).apply(Remove(Sysctl(name="net/ipv4/ip_forward", value="1")))
    assert (failure is not None) == told
