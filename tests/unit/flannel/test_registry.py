"""Where a registry is."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.base.errors import Conflict, Invalid
from weft.flannel.registry import check_unshared, connect, place, with_prefix
from weft.store.url import StoreOptions


@pytest.mark.parametrize(
    ("url", "hosts", "prefix"),
    [
        ("etcd://192.168.1.1", {"192.168.1.1:2379"}, "coreos.com/network"),
        ("etcd://192.168.1.1:2379/", {"192.168.1.1:2379"}, "coreos.com/network"),
        ("etcds://user@a:1,b/my/net", {"a:1", "b:2379"}, "my/net"),
        ("etcd://[fd00::1],[fd00::2]:7", {"[fd00::1]:2379", "[fd00::2]:7"}, "coreos.com/network"),
    ],
)
def test_place(url: str, hosts: set[str], prefix: str) -> None:
    assert place(url) == (hosts, prefix)


def test_flannels_prefix_is_used_where_none_is_given() -> None:
    assert with_prefix("etcd://a,b") == "etcd://a,b/coreos.com/network"
    assert with_prefix("etcd://a/other") == "etcd://a/other"


def test_one_registry_is_one_network() -> None:
    check_unshared("blue", "etcd://a,b/x", {"red": "etcd://a/y", "green": "etcd://c/x", "blue": "etcd://a/x"})
    with pytest.raises(Conflict, match="is network red's: one prefix is one network"):
        check_unshared("blue", "etcd://a,b/x", {"red": "etcds://b:2379/x"})


def test_the_settings_of_the_store_go_for_it_where_they_can(tmp_path: Path) -> None:
    """TLS where the URL asks for it, the password where it names a user."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    secrets = StoreOptions(password_file=str(password), ca="/no/ca.pem")
    connect("etcd://a", secrets)
    connect("etcd://weft@a", secrets)
    with pytest.raises(Invalid, match=r"'/no/ca\.pem', named in the store's options, cannot be read"):
        connect("etcds://a", secrets)
    with pytest.raises(Invalid, match="user and password go together"):
        connect("etcd://weft@a", StoreOptions())
    for bad in ("http://a:2379", f"sqlite://{tmp_path}/made.db", "a:2379", "ETCD://a"):
        with pytest.raises(Invalid, match="is no registry of flannel's, which is an etcd: write etcd://"):
            connect(bad, secrets)
    assert not (tmp_path / "made.db").exists()
    for bad in ("etcd://", "etcd://a:0", "etcd://a:x", "etcd://a/b c", "etcd://a,,b"):
        with pytest.raises(Invalid, match="is not a store's URL"):
            connect(bad, secrets)
