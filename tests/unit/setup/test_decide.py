"""What `weft init` writes, and why it does not."""

from __future__ import annotations

import pytest

from weft.agent.config import Config
from weft.agent.config import text as commented
from weft.base.errors import Conflict, Invalid, WeftError
from weft.setup.decide import PASSWORD, SECRET, There, Wanted, decide

ETCD = "etcds://weft@10.0.0.5:2379,10.0.0.6:2379/prefix"
HOSTS = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
OTHER = 'store = "etcds://weft@10.9.9.9"\n'


def test_without_options_one_host_is_a_cluster_of_its_own() -> None:
    found = decide(Wanted(), There())
    assert (found.text, found.config, found.secrets, found.changes) == (commented(), Config(), {}, ())


def test_what_is_there_stays_without_options() -> None:
    found = decide(Wanted(), There(text=OTHER, containers=3, cluster=True))
    assert (found.text, found.changes, found.forget) == (OTHER, (), False)


def test_a_password_in_the_url_never_gets_into_the_settings() -> None:
    found = decide(Wanted(store="etcds://weft:pass%3Aw%40rd@10.0.0.5"), There())
    assert found.secrets == {PASSWORD: "pass:w@rd\n"}
    assert (found.config.store, found.config.store_password_file) == ("etcds://weft@10.0.0.5", PASSWORD)
    assert "pass" not in found.text.replace("store-password", "").replace("password", "")


def test_a_password_from_stdin() -> None:
    found = decide(Wanted(store=ETCD, store_password_file="-"), There(stdin="secret\n"))
    assert found.secrets == {PASSWORD: "secret\n"} and found.config.store_password_file == PASSWORD
    again = There(text=found.text, stdin="secret\n", files=found.secrets)
    assert decide(Wanted(store=ETCD, store_password_file="-"), again)[2:] == ({}, (), False, False)


def test_the_first_host_of_a_mesh_makes_its_secret_and_only_once() -> None:
    found = decide(Wanted(join=HOSTS), There(first=True))
    assert found.config.store == "mesh://10.0.0.11,10.0.0.12,10.0.0.13"
    assert found.config.mesh_secret == SECRET and found.made and len(found.secrets[SECRET]) == 45
    again = decide(Wanted(join=HOSTS), There(text=found.text, files=found.secrets, first=True))
    assert (again.text, again.secrets, again.changes) == (found.text, {}, ())


def test_addresses_of_ipv6_are_written_as_urls_have_them() -> None:
    found = decide(Wanted(join=("fd00::1", "[fd00::2]")), There(first=True))
    assert found.config.store == "mesh://[fd00::1],[fd00::2]"


def test_a_secret_of_an_init_that_was_killed_is_taken() -> None:
    found = decide(Wanted(join=("10.0.0.11",)), There(files={SECRET: "x" * 44 + "\n"}, first=True))
    assert (found.secrets, found.made, found.config.mesh_secret) == ({}, False, SECRET)


def test_the_others_are_told_how_to_fetch_it() -> None:
    with pytest.raises(
        Invalid, match=r"`ssh 10\.0\.0\.11 cat /etc/weft/mesh\.secret \| weft init --join 10\.0\.0\.11 10"
    ):
        decide(Wanted(join=("10.0.0.11", "10.0.0.12")), There())
    found = decide(Wanted(join=("10.0.0.11", "10.0.0.12"), mesh_secret="-"), There(stdin="s" * 44 + "\n"))
    assert found.secrets == {SECRET: "s" * 44 + "\n"} and not found.made


@pytest.mark.parametrize(
    ("wanted", "there", "says"),
    [
        (Wanted(store=ETCD, join=HOSTS), There(), "give one of them"),
        (Wanted(store="etcds://weft:a@h", store_password_file="/f"), There(), "leave one of them out"),
        (Wanted(store_password_file="-", mesh_secret="-"), There(), "only one of"),
        (Wanted(store=ETCD, store_password_file="-"), There(), "nothing came from stdin"),
        (Wanted(store=ETCD, store_password_file="-"), There(stdin="a\nb\n"), "is to be one line"),
        (Wanted(join=("10.0.0.1", "10.0.0.1")), There(first=True), "10.0.0.1 is named twice"),
        (Wanted(node="No Name"), There(), "'No Name' is not a node name"),
        (Wanted(store=ETCD), There(text="colour = 1"), "colour"),
    ],
)
def test_what_cannot_be_meant(wanted: Wanted, there: There, says: str) -> None:
    with pytest.raises(WeftError, match=says) as caught:
        decide(wanted, there)
    assert "\n" not in str(caught.value)


def test_a_host_with_containers_stays_in_its_cluster() -> None:
    with pytest.raises(Conflict) as caught:
        decide(Wanted(store="etcds://weft:pass@10.0.0.5"), There(text=OTHER, containers=2, cluster=True))
    assert str(caught.value) == (
        "this host has 2 containers in the networks of etcds://10.9.9.9, and etcds://10.0.0.5 is another store: take the host "
        "out of the former first (`systemctl stop weft-agent && weft agent purge`), then try again"
    )
    with pytest.raises(Conflict, match="takes part in the mesh of mesh://h1"):
        decide(Wanted(store=ETCD), There(text='store = "mesh://h1"\nmesh-secret = "/s"\n', mesh=True))
    assert decide(Wanted(store=ETCD), There(text=OTHER, cluster=True)).forget


def test_another_secret_is_not_written_over_one() -> None:
    with pytest.raises(Conflict, match="holds another secret"):
        decide(Wanted(join=("10.0.0.11",), mesh_secret="-"), There(stdin="new" * 10, files={SECRET: "old" * 10 + "\n"}))
