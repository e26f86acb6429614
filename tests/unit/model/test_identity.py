"""What users say of an endpoint for policy: what is taken, and what is refused in one line."""

from __future__ import annotations

import pytest

from weft.base.errors import Invalid
from weft.model.identity import NamedPort, check_labels, check_namespace, check_ports, parse_port, selectable

LABELS = [
    ("a", "", True),
    ("a", "b", True),
    ("A.b_c-d", "1.0", True),
    ("a" * 63, "b" * 63, True),
    ("example.com/a", "b", True),
    ("a" * 63 + "/b", "", True),
    (".".join(["a" * 62] * 4) + "/" + "b" * 63, "", True),
    ("a" * 64, "", False),
    ("a", "b" * 64, False),
    ("", "b", False),
    ("/a", "b", False),
    ("a/", "b", False),
    ("a/b/c", "", False),
    ("-a", "", False),
    ("a", "-b", False),
    ("a", "b/c", False),
    ("a", "b c", False),
    ("a\n", "", False),
    ("a", "b\n", False),
    ("Example.com/a", "", False),
    ("é", "", False),
    ("a", "é", False),
    ("a" * 254 + "/b", "", False),
    ("a..b/c", "", False),
]


@pytest.mark.parametrize(("key", "value", "fits"), LABELS)
def test_labels_are_kubernetes(key: str, value: str, fits: bool) -> None:
    assert selectable({key: value}) == ({key: value} if fits else {})
    if fits:
        check_labels("web", {key: value})
    else:
        with pytest.raises(Invalid) as caught:
            check_labels("web", {key: value})
        assert str(caught.value).startswith("web: ") and len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["a", "0", "kube-system", "a" * 63])
def test_namespaces(name: str) -> None:
    assert check_namespace(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "a\n", "é"])
def test_no_namespaces(name: str) -> None:
    with pytest.raises(Invalid, match="is not a namespace's name"):
        check_namespace(name)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("http=8080", NamedPort("http", "tcp", 8080)),
        ("dns=53/udp", NamedPort("dns", "udp", 53)),
        ("a-1-b=65535/sctp", NamedPort("a-1-b", "sctp", 65535)),
        ("serve-80-tcp=80", NamedPort("serve-80-tcp", "tcp", 80)),
        ("123456789012345"[:14] + "a=1", NamedPort("12345678901234a", "tcp", 1)),
    ],
)
def test_named_ports(text: str, port: NamedPort) -> None:
    assert parse_port(text) == port == parse_port(str(port))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http",
        "http=",
        "=80",
        "http=x",
        "http=0",
        "http=65536",
        "http=80/icmp",
        "http=80/TCP",
        "80=80",
        "a--b=80",
        "-a=80",
        "a-=80",
        "Http=80",
        "a" * 16 + "=80",
        "a_b=80",
        "http=80-81",
        "http=80/",
        "a\n=80",
        "http=８０",
    ],
)
def test_no_named_ports(text: str) -> None:
    with pytest.raises(Invalid):
        parse_port(text)


def test_a_name_means_one_port_of_a_protocol() -> None:
    check_ports([NamedPort("dns", "udp", 53), NamedPort("dns", "tcp", 53)])
    with pytest.raises(Invalid, match="dns/udp is given twice"):
        check_ports([NamedPort("dns", "udp", 53), NamedPort("dns", "udp", 54)])
