"""What a user calls a namespace."""

from __future__ import annotations

import pytest

from weft.base.errors import NotFound
from weft.inspect.find import Place
from weft.inspect.meant import meant
from weft.inspect.model import Container

WEB, DB, TWIN = "3f2a" + "0" * 60, "3f2b" + "0" * 60, "77aa" + "0" * 60


def place(inode: int, **about: object) -> Place:
    return Place(inode, **about)  # type: ignore[arg-type]


def of(*containers: tuple[str, str, str]) -> dict[str, Container]:
    return {id: Container(engine=engine, id=id, name=name) for engine, id, name in containers}


FAR = ["/proc/9/root/run/netns/web", "/proc/9/root/run/netns/far"]
PLACES = {
    p.inode: p
    for p in (
        place(4026531840, name="default", pids=[1, 7, 90], own=True),
        place(4026532001, name="web", pids=[101, 102], containers=of(("docker", WEB, "web"))),
        place(
            4026532002,
            name="db",
            pids=[103],
            containers=of(("docker", DB, "db")),
            mounts=["/run/docker/netns/d1"],
            called=["d1"],
            near={"d1"},
        ),
        place(4026532003, name="twin:4026532003", containers=of(("podman", TWIN, "twin"))),
        place(4026532004, name="twin:4026532004", mounts=["/run/netns/twin"], called=["twin"], near={"twin"}),
        place(4026532007, name="web:4026532007", mounts=FAR, called=["web", "far"]),
        place(4026532005, name="102", containers=of(("docker", "5" * 64, "102"))),
        place(4026532006, name="shop/web-0/nginx", containers=of(("kubernetes", "6" * 64, "shop/web-0/nginx"))),
    )
}


@pytest.mark.parametrize(
    ("reference", "inode"),
    [
        ("default", 4026531840),
        ("web", 4026532001),  # goes before what is called so in another mount namespace
        (WEB, 4026532001),
        ("3f2a", 4026532001),
        ("77", 4026532003),  # no such pid, and the beginning of one id
        ("d1", 4026532002),
        ("far", 4026532007),
        ("7", 4026531840),  # a pid goes before the beginning of an id
        ("101", 4026532001),
        ("4026532003", 4026532003),
        ("net:[4026532004]", 4026532004),
        ("twin:4026532004", 4026532004),
        ("/run/netns/twin", None),
        ("shop/web-0/nginx", 4026532006),
    ],
)
def test_by_whatever_name(reference: str, inode: int | None) -> None:
    if inode is None:
        with pytest.raises(NotFound, match="is called"):
            meant(reference, PLACES)
    else:
        assert meant(reference, PLACES).inode == inode


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("3f2", r"docker web, id 3f2a00000000; docker db, id 3f2b00000000: name one by"),
        ("twin", r"podman twin, id 77aa00000000; /run/netns/twin: name one by"),
        ("102", r"/proc/102/ns/net; docker 102, id 555555555555: name one by"),
    ],
)
def test_what_may_be_several_is_refused_with_their_names(reference: str, told: str) -> None:
    with pytest.raises(NotFound, match=f"^{reference} is more than one network namespace: {told}"):
        meant(reference, PLACES)


@pytest.mark.parametrize("reference", ["", "nobody", "3f2c", "999999", "*", "٣", "WEB", "net:[1]", "-1"])
def test_what_is_not_there_is_not_found(reference: str) -> None:
    with pytest.raises(NotFound, match="no network namespace here"):
        meant(reference, PLACES)


def test_of_very_many_some_are_told() -> None:
    many = {n: place(n, name=str(n), containers=of(("docker", f"aa{n:062}", f"c{n}"))) for n in range(1, 41)}
    with pytest.raises(NotFound, match="and 36 more: name one"):
        meant("aa", many)
