from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weft.base.errors import Invalid
from weft.store.etcd import EtcdStore
from weft.store.sqlite import SqliteStore
from weft.store.url import DEFAULT_URL, StoreOptions, mesh_hosts, open_store, unguarded, without_secret


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (DEFAULT_URL, SqliteStore),
        ("sqlite:///weft.db", SqliteStore),
        ("etcd://h1", EtcdStore),
        ("etcd://h1:2379,h2:2379", EtcdStore),
        ("etcd://10.0.0.1:2379,[fd00::1]:2379,h-3.example/weft/east", EtcdStore),
        ("etcd://us%40er:pass%2Fword@h1:2379/", EtcdStore),
        ("etcd://user:p@ss/wo:rd@h1:2379/prefix", EtcdStore),
        ("etcds://h1:2379", EtcdStore),
    ],
)
async def test_good_urls(url: str, kind: type) -> None:
    store = open_store(url, StoreOptions())
    assert isinstance(store, kind)
    await store.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "no '://'"),
        ("/var/lib/weft/weft.db", "no '://'"),
        ("memory://", "'memory' is no kind of store"),
        ("sqlite://weft.db", "a file's path is absolute"),
        ("sqlite://var/lib/weft.db", "a file's path is absolute"),
        ("sqlite:///", "the file's name is missing"),
        ("sqlite:///var/lib/weft/", "the file's name is missing"),
        ("sqlite:///weft.db?mode=ro", "no options"),
        ("etcd://", "a host is missing"),
        ("etcd:///weft", "a host is missing"),
        ("etcd://h1,,h2", "a host is missing"),
        ("etcd://h1:port", "'h1:port' is not a host and port"),
        ("etcd://h1:65536", "there is no port 65536"),
        ("etcd://h1:0", "there is no port 0"),
        ("etcd://fd00::1", "'fd00::1' is not a host and port"),
        ("etcd://h1/a//b", "'a//b' is not a prefix"),
        ("etcd://h1/a?b", "'a?b' is not a prefix"),
        ("mesh://", "a host is missing"),
        ("mesh://h1,,h2", "a host is missing"),
        ("mesh://h1:6786,h2", "'h1:6786' has a port: a mesh's ports are always the same"),
        ("mesh://[fd00::1]:6786", "'[fd00::1]:6786' has a port"),
        ("mesh://fd00::1", "of IPv6 in brackets"),
        ("mesh://h1/weft", "a mesh has no prefix, and '/weft' is one"),
        ("mesh://u:p@h1", "a mesh has no user"),
        ("mesh://h1,h1", "h1 is named twice"),
        ("mesh://[fd00::1],[fd00:0::1]", "fd00::1 is named twice"),
        ("mesh://192.168.1.300", "'192.168.1.300' is no address"),
        ("mesh://h 1", "'h 1' is no host"),
        ("mesh://0.0.0.0", "'0.0.0.0' is no address of one host"),
        ("mesh://h1,[ff02::1]", "'[ff02::1]' is no address of one host"),
        ("mesh://127.0.0.1,h2", "127.0.0.1 is another host on each host"),
        ("mesh://10.0.0.1,[fd00::1]", "addresses of both are named"),
    ],
)
def test_bad_urls_say_what_is_wrong_and_what_is_right(url: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_store(url, StoreOptions())
    assert reason in str(caught.value)
    assert "sqlite:///var/lib/weft/weft.db or etcd://HOST:2379" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("sqlite:///weft.db", {"user": "u"}, "takes no user"),
        ("etcd://h1", {"ca": "/ca.pem"}, "write etcds://"),
        ("mesh://h1", {"ca": "/ca.pem"}, "its hosts share a secret"),
        ("mesh://h1", {}, "nothing else can use it"),
        ("etcds://h1", {"ca": "/no/such.pem"}, "'/no/such.pem', named in the store's options, cannot be read"),
        ("etcds://h1", {"cert": "/c.pem"}, "both cert and key"),
        ("etcd://user@h1", {}, "user and password go together"),
        ("etcd://h1", {"user": "u"}, "user and password go together"),
        ("etcd://u@h1", {"password_file": "/dev/null"}, "'/dev/null', named in the store's options, is empty"),
    ],
)
def test_bad_options(url: str, options: dict[str, str], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        open_store(url, StoreOptions(**options))


@pytest.mark.parametrize(
    "url",
    [
        "etcd://u:secret@h1:port",
        "etcd://u:secret@",
        "etcds://u:secret@h1/a//b",
        "etcd://u:se@secret/x@h1:port",
        "etcd://u:/secret@secret@h1/a//b",
        "etcd:/u:secret@h1",
        "u:secret@h1",
        "memory://u:secret@secret/@h",
        "u:secret@x://h1",
    ],
)
def test_no_message_tells_the_password(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_store(url, StoreOptions())
    assert "secret" not in str(caught.value)
    assert "secret" not in without_secret(url)


def test_the_hosts_that_a_mesh_names() -> None:
    assert mesh_hosts("mesh://Node-1,10.0.0.1") == ("node-1", "10.0.0.1")
    assert mesh_hosts("mesh://Node-1,[fd00:0::1]") == ("node-1", "fd00::1")
    assert mesh_hosts("mesh://127.0.0.1") == ("127.0.0.1",)


def test_without_secret_keeps_the_rest() -> None:
    for password in ("p", "p@q", "p/q", "p@/q:r", "p://q"):
        assert without_secret(f"etcd://u:{password}@h1,h2/weft") == "etcd://h1,h2/weft"
    assert without_secret("sqlite:///var/lib/we@ft.db") == "sqlite:///var/lib/we@ft.db"
    assert without_secret(DEFAULT_URL) == DEFAULT_URL


@pytest.mark.parametrize(
    ("url", "cert", "lacks"),
    [
        ("etcd://10.0.0.5:2379,10.0.0.6", "", "without TLS and without a user"),
        ("etcd://weft:p@10.0.0.5", "", "without TLS"),
        ("etcds://10.0.0.5", "", "without a user"),
        ("etcds://10.0.0.5", "/etc/weft/cert.pem", ""),
        ("etcds://weft@10.0.0.5/x", "", ""),
        ("etcd://127.0.0.1,[::1]:2379,localhost/x", "", ""),
        ("etcd://127.0.0.1,10.0.0.5", "", "without TLS and without a user"),
        ("etcd://db.example", "", "without TLS and without a user"),
        (DEFAULT_URL, "", ""),
    ],
)
def test_a_store_that_anybody_may_use(url: str, cert: str, lacks: str) -> None:
    assert unguarded(url, cert) == lacks


def test_the_embedded_store_does_without_grpc() -> None:
    code = (
        "import sys; from weft.store.url import *; import weft.store.follow; "
        "open_store(DEFAULT_URL, StoreOptions()); assert 'grpc' not in sys.modules"
    )
    source = Path(__file__).resolve().parents[3] / "src"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(source)}, check=False)
    assert done.returncode == 0
