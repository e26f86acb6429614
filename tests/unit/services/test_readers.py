"""What the index tells its readers: each hears of a change once, whoever asked before."""

from __future__ import annotations

from weft.base.net import parse_address
from weft.model import Location
from weft.services.index import Index
from weft.services.model import Service
from weft.services.record import At

WEB, DB = At("blue", "web"), At("blue", "db")


def service(name: str = "web", **more: object) -> Service:
    values: dict[str, object] = {"select": f"app={name}", **more}
    return Service(name=name, network="blue", **values)  # type: ignore[arg-type]


def container(app: str) -> Location:
    address = parse_address("10.1.0.2")
    return Location(node="n", mac="02:42:0a:01:00:02", addresses=(address,), name="c", labels={"app": app})


def test_each_reader_hears_of_a_change_once() -> None:
    index = Index()
    index.put_service(WEB, service())
    assert index.taken("one") == {WEB}
    index.put_service(DB, service("db"))
    assert index.taken("two") == {WEB, DB}
    assert index.taken("one") == {DB}
    assert index.taken("one") == index.taken("two") == set()
    index.put_location("blue", "c", container("web"))
    assert index.taken("one") == index.taken("two") == {WEB}


def test_who_became_a_member_or_is_none_any_more() -> None:
    index = Index()
    index.put_location("blue", "c", container("web"))
    assert index.moved() == set()
    index.put_service(WEB, service())
    assert index.moved() == {("blue", "c")}
    index.put_location("blue", "c", container("web"))
    index.put_service(WEB, service(drain=5.0))
    assert index.moved() == set()
    index.put_location("blue", "c", container("db"))
    assert index.moved() == {("blue", "c")}
    index.put_service(WEB, None)
    assert index.moved() == set()
