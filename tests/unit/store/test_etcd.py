"""What only the etcd store has: TLS, users, several endpoints, leases with etcd's own ideas."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from support.agents import until
from support.etcd import EtcdServer, free_ports
from weft.base.errors import Denied, Unavailable
from weft.store import etcd as etcd_module
from weft.store.etcd import EtcdStore
from weft.store.etcd_errors import explain_text
from weft.store.follow import Changes, Lost, Synced, follow
from weft.store.protocol import Put, Store
from weft.store.url import StoreOptions, open_store

Opened = Callable[[Store], Store]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    """One for this test alone."""
    server = EtcdServer(tmp_path / "etcd")
    server.start()
    yield server
    server.stop()


def at(url: str, **options: str) -> Store:
    return open_store(url, StoreOptions(**options))


class TestPrefix:
    async def test_where_keys_lie(self, etcd: EtcdServer, opened: Opened) -> None:
        for url, root in (("", "/weft/"), ("/", "/weft/"), ("/a/b", "/a/b/")):
            store = opened(at(f"etcd://{etcd.endpoint}{url}"))
            await store.commit([], [Put("nodes/x", url.encode())])
            assert etcd.ctl("get", f"{root}nodes/x").splitlines() == [f"{root}nodes/x", url]

    async def test_prefixes_do_not_see_each_other(self, etcd: EtcdServer, opened: Opened) -> None:
        one, other = (opened(at(f"etcd://{etcd.endpoint}/{name}")) for name in ("one", "one0"))
        await one.commit([], [Put("a", b"")])
        assert (await other.list("")).items == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "Stream removed (recvmsg:Connection reset by peer (104) (GOAWAY received; Error code: 0; Debug Text: ))",
            "Connection reset by peer",
        ),
        ("Stream removed (Socket closed (GOAWAY received; Error code: 0; Debug Text: ))", "Socket closed"),
        ("Stream removed (Deadline Exceeded)", "Deadline Exceeded"),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: "
            "Connection refused",
            "Failed to connect to remote host: Connection refused",
        ),
    ],
)
def test_of_grpcs_words_the_reason_alone_is_told(text: str, reason: str) -> None:
    assert str(explain_text(text, "h1:2379")).startswith(f"etcd at h1:2379: {reason}: check that it runs")


async def test_a_key_that_is_no_text_ends_nobody(etcd: EtcdServer, opened: Opened) -> None:
    store = opened(at(f"etcd://{etcd.endpoint}/odd"))
    etcd.ctl("put", "/odd/nodes/\udcff", "by hand")
    listing = await store.list("nodes/")
    assert [item.key for item in listing.items] == ["nodes/\\xff"]
    async with aclosing(store.watch("nodes/", listing.revision)) as batches:
        etcd.ctl("del", "/odd/nodes/\udcff")
        etcd.ctl("put", "/odd/nodes/\udcfe", "by hand")
        seen = [change.key for change in (await anext(batches)).changes]
        seen += [change.key for change in (await anext(batches)).changes] if len(seen) < 2 else []
    assert seen == ["nodes/\\xff", "nodes/\\xfe"]


async def test_a_long_listing_comes_in_pages(etcd: EtcdServer, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_module, "PAGE", 3)
    store = opened(at(f"etcd://{etcd.endpoint}/pages"))
    for count in range(8):
        listing = await store.list("k/")
        assert [item.key for item in listing.items] == [f"k/{number}" for number in range(count)]
        await store.commit([], [Put(f"k/{count}", b"")])


async def test_a_lease_keeps_the_duration_it_was_granted_with(etcd: EtcdServer, opened: Opened) -> None:
    store = opened(at(f"etcd://{etcd.endpoint}/leases"))
    await store.grant(77, 30)
    await store.grant(77, 300)
    assert "granted with TTL(30s)" in etcd.ctl("lease", "timetolive", "4d")
    await store.revoke(77)


async def test_a_lease_granted_by_two_at_once_is_granted(etcd: EtcdServer, opened: Opened) -> None:
    stores = [opened(at(f"etcd://{etcd.endpoint}/leases")) for _ in range(2)]
    await asyncio.gather(*(store.grant(78, 30) for store in stores for _ in range(5)))
    await stores[0].revoke(78)


class TestEndpoints:
    async def test_dead_ones_cost_little(self, etcd: EtcdServer, opened: Opened) -> None:
        """One refuses, one takes the connection and is silent; only the first call tries them."""
        (refusing,) = free_ports(1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            dead = f"127.0.0.1:{refusing},127.0.0.1:{silent.getsockname()[1]}"
            store = opened(at(f"etcd://{dead},{etcd.endpoint}/dead"))
            started = time.monotonic()
            await store.commit([], [Put("a", b"")])
            assert time.monotonic() - started < 3
            started = time.monotonic()
            for _ in range(20):
                await store.commit([], [Put("a", b"")])
            assert time.monotonic() - started < 1

    async def test_none_answers(self, opened: Opened) -> None:
        one, two = free_ports(2)
        store = opened(at(f"etcd://127.0.0.1:{one},127.0.0.1:{two}"))
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            await asyncio.gather(*(store.get("a") for _ in range(50)))
        assert time.monotonic() - started < 2, "all wait for the same attempt"
        assert f"127.0.0.1:{one}" in str(caught.value)
        assert f"127.0.0.1:{two}" in str(caught.value)
        assert "\n" not in str(caught.value)

    async def test_over_to_another_when_one_dies(self, etcd: EtcdServer, server: EtcdServer, opened: Opened) -> None:
        """Two clusters here, which do not share data: enough to see where calls go."""
        store = opened(at(f"etcd://{server.endpoint},{etcd.endpoint}/over"))
        await store.commit([], [Put("a", b"first")])
        server.stop()
        assert await store.commit([], [Put("a", b"second")]) is not None, "it was not sent to the dead one"
        assert b"second" in etcd.ctl("get", "/over/a").encode()

    async def test_a_frozen_one_is_given_up_with_all_that_is_on_it(self, server: EtcdServer, opened: Opened) -> None:
        store = opened(at(f"etcd://{server.endpoint}"))
        async with asyncio.timeout(20), aclosing(follow(store, "")) as events:
            assert isinstance(await anext(events), Synced)
            following = asyncio.create_task(anext(events))
            await store.get("a")
            server.freeze()
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await store.commit([], [Put("a", b"")])
            assert time.monotonic() - started < 6
            assert isinstance(await following, Lost)
            server.thaw()
            assert isinstance(await anext(events), Synced)


class TestUsers:
    @pytest.fixture
    def guarded(self, server: EtcdServer) -> EtcdServer:
        """root:master may do all, weft:pass:word only what lies under /weft/."""
        for words in (
            "user add root:master",
            "user grant-role root root",
            "role add weft",
            "role grant-permission weft --prefix=true readwrite /weft/",
            "user add weft --new-user-password=pass:word",
            "user grant-role weft weft",
            "auth enable",
        ):
            if words.startswith("user grant-role root"):
                server.ctl("role", "add", "root")
            server.ctl(*words.split())
        return server

    async def test_by_url_or_by_file(self, guarded: EtcdServer, opened: Opened, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("pass:word\n")
        for store in (
            opened(at(f"etcd://weft:pass%3Aword@{guarded.endpoint}")),
            opened(at(f"etcd://{guarded.endpoint}", user="weft", password_file=str(tmp_path / "password"))),
        ):
            revision = await store.commit([], [Put("a", b"")])
            assert (await store.list("")).revision == revision

    async def test_refusals_say_why(self, guarded: EtcdServer, opened: Opened) -> None:
        for url, reason in (
            (f"etcd://{guarded.endpoint}", "it wants a user"),
            (f"etcd://weft:wrong@{guarded.endpoint}", "refused user 'weft'"),
            (f"etcd://weft:pass%3Aword@{guarded.endpoint}/else", "give the user a role"),
        ):
            store = opened(at(url))
            with pytest.raises(Denied, match=reason) as caught:
                await store.get("a")
            assert "pass:word" not in str(caught.value)
            assert "wrong" not in str(caught.value)
            with pytest.raises(Denied):
                await anext(cast("EtcdStore", store).watch("", 1))

    async def test_a_forgotten_token_is_replaced(self, guarded: EtcdServer, opened: Opened) -> None:
        """etcd keeps tokens in memory, so a restart forgets them."""
        store = cast("EtcdStore", opened(at(f"etcd://weft:pass%3Aword@{guarded.endpoint}")))
        revision = await store.commit([], [Put("a", b"")])
        assert revision is not None
        guarded.restart()
        assert await store.commit([], [Put("a", b"2")]) == revision + 1
        guarded.restart()
        async with asyncio.timeout(10), aclosing(store.watch("", revision)) as batches:
            assert [change.value for change in (await anext(batches)).changes] == [b"2"]
        guarded.restart()
        await store.grant(7, 5)

    async def test_following_outlives_a_restart(self, guarded: EtcdServer, opened: Opened) -> None:
        store = opened(at(f"etcd://weft:pass%3Aword@{guarded.endpoint}"))
        async with asyncio.timeout(20), aclosing(follow(store, "n/")) as events:
            assert isinstance(await anext(events), Synced)
            guarded.stop()
            assert isinstance(await anext(events), Lost)
            guarded.start()
            assert isinstance(await anext(events), Synced)
            await store.commit([], [Put("n/a", b"")])
            assert isinstance(await anext(events), Changes)

    async def test_a_changed_password_is_read_again(self, guarded: EtcdServer, opened: Opened, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text("pass:word\n")
        store = opened(at(f"etcd://weft@{guarded.endpoint}", password_file=str(file)))
        assert await store.commit([], [Put("a", b"")])
        for words in ("user delete weft", "user add weft --new-user-password=new", "user grant-role weft weft"):
            guarded.ctl(*words.split(), user="root:master")
        guarded.restart()
        file.write_text("")
        with pytest.raises(Unavailable, match="is empty"):
            await store.get("a")
        file.write_text("new\n")
        assert await store.get("a")

    async def test_a_login_is_no_harm_where_there_are_no_users(self, etcd: EtcdServer, opened: Opened) -> None:
        assert await opened(at(f"etcd://weft:word@{etcd.endpoint}/open")).get("a") is None


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority (ca), two who have a certificate of it (server, client), and another authority (wrong)."""
    place = tmp_path_factory.mktemp("pki")

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=place, check=True, capture_output=True)

    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for name in ("ca", "wrong"):
        openssl(f"req -x509 {key} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2")
    for name in ("server", "client"):
        (place / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl(f"req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
            f" -extfile {name}.ext -out {name}.pem"
        )
    return place


@pytest.fixture(scope="module")
def secured(pki: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    flags = (
        f"--cert-file={pki / 'server.pem'}",
        f"--key-file={pki / 'server.key'}",
        f"--trusted-ca-file={pki / 'ca.pem'}",
        "--client-cert-auth",
    )
    server = EtcdServer(tmp_path_factory.mktemp("etcd-tls"), flags)
    server.start()
    yield server
    server.stop()


class TestTls:
    async def test_both_sides_prove_themselves(self, secured: EtcdServer, pki: Path, opened: Opened) -> None:
        files = {"ca": str(pki / "ca.pem"), "cert": str(pki / "client.pem"), "key": str(pki / "client.key")}
        store = opened(at(f"etcds://{secured.endpoint}", **files))
        revision = await store.commit([], [Put("a", b"1")])
        assert (await store.list("")).revision == revision

    async def test_renewed_certificates_are_read_again(
        self, secured: EtcdServer, pki: Path, opened: Opened, tmp_path: Path
    ) -> None:
        """With the next connection, without a restart."""
        files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
        old = {"ca": "wrong.pem", "cert": "wrong.pem", "key": "wrong.key"}
        new = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
        for name, file in files.items():
            file.write_bytes((pki / old[name]).read_bytes())
        store = opened(at(f"etcds://{secured.endpoint}", **{name: str(file) for name, file in files.items()}))
        with pytest.raises(Unavailable):
            await store.get("a")
        files["key"].unlink()
        with pytest.raises(Unavailable, match="cannot be read: No such file"):
            await store.get("a")
        for name, file in files.items():
            file.write_bytes((pki / new[name]).read_bytes())
        assert await store.commit([], [Put("renewed", b"")])
        secured.restart()
        assert await store.get("renewed")

    @pytest.mark.parametrize(
        ("scheme", "files", "way_out"),
        [
            ("etcds", {"ca": "wrong.pem", "cert": "client.pem", "key": "client.key"}, "the store's ca option"),
            ("etcds", {"ca": "ca.pem"}, "give the store's cert and key"),
            ("etcds", {}, "the store's ca option"),
            ("etcd", {}, "write etcds://"),
        ],
        ids=["wrong authority", "no client certificate", "unknown authority", "without TLS"],
    )
    async def test_or_there_is_no_connection(
        self, secured: EtcdServer, pki: Path, opened: Opened, scheme: str, files: dict[str, str], way_out: str
    ) -> None:
        store = opened(at(f"{scheme}://{secured.endpoint}", **{name: str(pki / file) for name, file in files.items()}))
        with pytest.raises(Unavailable) as caught:
            await store.get("a")
        assert f"etcd at {secured.endpoint}: " in str(caught.value)
        assert way_out in str(caught.value)


async def test_a_lost_etcd_leaves_no_task_behind(server: EtcdServer, opened: Opened) -> None:
    """gRPC forgets the tasks that wait to send more; asyncio then complains of each aloud, once it is collected as garbage."""
    store = opened(at(f"etcd://{server.endpoint}"))

    def senders() -> int:
        return sum("_consume_request_iterator" in repr(task) for task in asyncio.all_tasks())

    gc.disable()
    try:
        async with asyncio.timeout(40), aclosing(follow(store, "a/", "b/")) as events:
            for _ in range(2):
                assert isinstance(await anext(events), Synced)
                await store.commit([], [Put("a/x", b"")])
                assert isinstance(await anext(events), Changes), "it watches"
                server.stop(signal.SIGKILL)
                assert isinstance(await anext(events), Lost)
                server.start()
            await store.get("a/x")
            await until(lambda: senders() <= 2, 5)
    finally:
        gc.enable()
