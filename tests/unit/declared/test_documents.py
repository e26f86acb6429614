"""Documents are read into items and written back; whatever is wrong is told with its place, and how it is nearly called."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from textwrap import dedent

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from support.declared import BLUE, CLUSTER, FLOATING, PEER, POOL, PROD, SETTINGS, WEB
from weft.base.errors import Invalid
from weft.declared import bgp, network, pool, service, table
from weft.declared.item import Item
from weft.declared.read import Reading, read
from weft.declared.schema import schema
from weft.documents.document import Document
from weft.documents.text import documents, text
from weft.model import BgpPeer, BgpSettings, Network, Pool
from weft.services.model import Service


def reading(*texts: str) -> Reading:
    return read(doc for n, each in enumerate(texts) for doc in documents(dedent(each), f"f{n}.yaml"))


def items(*texts: str) -> tuple[Item, ...]:
    found = reading(*texts)
    assert found.faults == ()
    return found.items


def again(item: Item) -> Item:
    """Written, as text, and read."""
    [found] = items(text(table.document(item)))
    return found


@pytest.mark.parametrize("document", [*CLUSTER, FLOATING])
def test_each_kind_is_written_as_it_was_read(document: str) -> None:
    [item] = items(document)
    assert again(item).same(item)
    assert table.document(again(item)) == table.document(item)
    assert list(table.document(item))[:3] == ["apiVersion", "kind", "metadata"]


def test_every_kind_has_its_round_trip_above() -> None:
    assert {item.kind for item in items(*CLUSTER, FLOATING)} == set(table.BY_NAME) - {"ClusterNetworkPolicy"}


def test_what_is_so_anyway_is_not_written() -> None:
    blue = BLUE.replace("vni: 77", "vni: 77, spoofing: drop, node-prefix: '25', reach: self")
    assert table.document(*items(blue)) == {
        "apiVersion": "weft/v1",
        "kind": "Network",
        "metadata": {"name": "blue", "labels": {"app": "shop"}},
        "spec": {
            "driver": "vxlan",
            "subnets": ["10.20.0.0/16", "fd00:20::/48"],
            "options": {"node-prefix": 25, "vni": 77},
        },
    }
    assert table.document(*items("{apiVersion: weft/v1, kind: BgpSettings}")) == {
        "apiVersion": "weft/v1",
        "kind": "BgpSettings",
        "metadata": {"name": "default"},
    }


def test_lists_as_kubectl_writes_them_crlf_and_json() -> None:
    documents = [yaml.safe_load(each) for each in (BLUE, WEB)]
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    assert [item.id for item in items(whole)] == ["network/blue", "service/blue/web"]
    assert [i.same(j) for i, j in zip(items(whole), items(BLUE.replace("\n", "\r\n"), WEB), strict=True)] == [True] * 2
    assert [item.place for item in items(whole)] == ["f0.yaml, line 1: items[0]", "f0.yaml, line 1: items[1]"]


NEITHER = "{apiVersion: weft/v1, kind: Network}"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("[]", "document: a mapping is expected, not a list"),
        ("5", "document: a mapping is expected, not 5"),
        ("{kind: Network}", "Network: apiVersion: it is missing"),
        (BLUE.replace("Network", "Netwrok"), "kind: 'Netwrok' is no kind of document: did you mean Network?"),
        (BLUE.replace("Network", "5"), "document blue: kind: a text is expected, not 5: put it in quotes"),
        (BLUE.replace("weft/v1", "weft/v2"), "Network blue: apiVersion: 'weft/v2': a Network is of weft/v1"),
        (NEITHER, "Network: metadata: it is missing"),
        (NEITHER.replace("}", ", metadata: {name: blue}}"), "Network blue: spec: it is missing"),
        (NEITHER.replace("}", ", metadata: {name: blue}, spec: {}}"), "Network blue: spec.driver: it is missing"),
        (BLUE.replace("name: blue", "name: 5"), "metadata.name: a text is expected, not 5: put it in quotes"),
        (BLUE.replace("name: blue", "name: null"), "metadata.name: it is missing"),
        (BLUE.replace("name: blue", "name: Blue"), "'Blue' is not a network name"),
        (BLUE.replace("name: blue", "name: 'ä'"), "'ä' is not a network name"),
        (BLUE.replace("name: blue", "nmae: blue"), "metadata: 'nmae' is not a field of it: did you mean name?"),
        (BLUE.replace("name: blue", "name: blue, network: red"), "metadata.network: a Network is in no network"),
        (WEB.replace(", network: blue", ""), "metadata.network: it is missing"),
        (POOL.replace("network: prod", "network: prod, labels: {a: b}"), "metadata.labels: a Pool has no labels"),
        (BLUE.replace("app: shop", "app: 5"), "metadata.labels.app: a text is expected, not 5"),
        (BLUE.replace("app: shop", "app: \"\\a\""), "metadata.labels.app: '\\x07' is longer than 16384 characters or"),
        (BLUE.replace("spec:", "specs:"), "'specs' is not a field of it: did you mean spec?"),
        (BLUE.replace("subnets: [", "subnets: 5, x: ["), "spec: 'x' is not a field of it: there are driver"),
        (BLUE.replace("subnets: [", "subnets: [5, "), "spec.subnets[0]: a text is expected, not 5"),
        (BLUE.replace("10.20.0.0/16", "{a: b}"), "spec.subnets[0]: a text is expected, not a mapping"),
        (BLUE.replace("10.20.0.0/16", "10.20.0.1/16"), "spec.subnets[0]: "),
        (BLUE.replace("10.20.0.0/16", "null"), "spec.subnets[0]: it is missing"),
        (BLUE.replace("vni: 77", "vni: [77]"), "spec.options.vni: a text, a whole number, true or false is expected"),
        (BLUE.replace("vni: 77", "vni: 7.5"), "spec.options.vni: a text, a whole number, true or false is expected"),
        (BLUE.replace("vni: 77", "vni: yes"), "option vni=yes is not a whole number"),
        (PROD.replace("mtu: 1400", "mtu: 1e9"), "spec.mtu: a whole number is expected, not 1000000000.0"),
        (PROD.replace("mtu: 1400", "mtu: 99999999999999999999"), "spec.mtu: a whole number is expected"),
        (PROD.replace("mtu: 1400", "mtu: 5"), "network prod: MTU 5 is outside 576 to 65535"),
        (PROD.replace("mtu: 1400", "internal: 'true'"), "spec.internal: true or false is expected, not 'true'"),
        (SETTINGS.replace("spec:", "metadata: {name: x}\nspec:"), "'x': there is one BgpSettings in a cluster, and it is"),
        (PEER.replace("ttlSecurity", "passwordFile: x, ttlSecurity"), "files are read by `weft apply`"),
        (PEER.replace("ttlSecurity", "keepPassword: true, password: x, ttlSecurity"), "leave one of them out"),
        (PEER.replace("ttlSecurity", "scope: all, ttlSecurity"), "spec.scope: 'all' is none of node, cluster"),
        (WEB.replace("http/up", "https"), "'https' is not a health check"),
        (WEB.replace("8000:80", "8000:81"), "it leads to none of the service's ports"),
        (WEB.replace("drain: 5", "drain: .inf"), "spec.drain: a number is expected, not '.inf'"),
        (FLOATING.replace("198.51.100.7", "224.0.0.1"), "is a multicast address"),
        (POOL.replace("10.31.0.0/16", "10.31.0.0/99"), "Pool prod/10.31.0.0/99: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(document: str, expected: str) -> None:
    found = reading(document)
    assert len(found.faults) == 1 and found.items == ()
    assert expected in found.faults[0] and found.faults[0].startswith("f0.yaml, line ")
    assert found.faults[0].isprintable() and not found.faults[0].endswith("a mapping: put it in quotes")


def test_all_faults_are_told_and_duplicates_with_both_places() -> None:
    assert len(reading(BLUE.replace("vxlan", "vxlam"), WEB.replace("80:8080", "x")).faults) == 2
    assert reading(BLUE, WEB, BLUE).faults == (
        "f2.yaml, line 2: Network blue is there twice: first at f0.yaml, line 2",
    )


def test_texts_that_are_meant_to_do_harm() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for harmful, why in (
        (bomb, "more than 1000000 values"),
        ("kind:\tNetwork\n\tx: y", "this is not YAML"),
        ("- " * 41 + "x", "more than 40 mappings and lists"),
        ("kind: Network\nkind: Pool", "'kind' is there twice"),
        ("!!python/object/apply:os.system [id]", "is not supported"),
        ("1: x", "the name of a field is a text"),
        ("x" * (8 * 2**20 + 1), "it is too long: at most 8388608 characters"),
    ):
        with pytest.raises(Invalid, match=why):
            list(documents(harmful, "f.yaml"))
    many = {"apiVersion": "v1", "kind": "List", "items": [{}] * 10_001}
    assert "too many: at most 10000" in read([Document("f.yaml", many)]).faults[-1]
    assert reading(*["---\n"] * 3).items == ()


few = settings(max_examples=25, deadline=None)
labels = st.dictionaries(st.text("abc/.-é", min_size=1, max_size=8), st.text("ab1e0 'é:", max_size=8), max_size=3)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}[a-z0-9]", fullmatch=True)
selectors = st.sampled_from(["", "rack=a", "rack=a,!spare", "zone!=b"])
v4 = st.integers(1, 200).map(lambda n: ip_network(f"10.{n}.0.0/16"))


@few
@given(names, labels, v4, st.booleans(), st.sampled_from([None, 1400]), st.sampled_from(["self", "all", "red,green"]))
def test_any_network(name, labels, subnet, internal, mtu, reach) -> None:
    for driver, options in (("vxlan", {"vni": "9", "port": 4789}), ("host-gw", {}), ("routed", {"block-size": "27"})):
        made = Network(
            name=name,
            driver=driver,
            subnets=(subnet,),
            options={**options, "reach": reach},
            internal=internal,
            mtu=mtu,
            labels=labels,
        )
        item = network.from_network(made)
        assert again(item).same(item)
        back = network.to_network(again(item))
        assert msgspec.structs.replace(back, options={}) == msgspec.structs.replace(made, options={})
        assert back.options.get("reach", "self") == reach


@few
@given(names, v4, selectors, st.booleans(), st.sampled_from([None, True, False]))
def test_any_pool(name, subnet, nodes, disabled, masquerade) -> None:
    made = Pool(subnet=subnet, nodes=nodes, disabled=disabled, masquerade=masquerade)
    whole = Network(name=name, driver="routed", subnets=(subnet,))
    assert pool.to_pool(again(pool.from_pool(whole, made))) == made


@few
@given(
    names,
    labels,
    st.integers(1, 65534).filter(lambda n: n != 23456),
    selectors,
    st.sampled_from([("all",), ("none",), ("10.0.0.0/8+", "192.0.2.0/24{24,32}")]),
    st.sampled_from(["", "secret with 'quotes'"]),
    st.booleans(),
)
def test_any_peer(name, labels, asn, nodes, accept, password, strict) -> None:
    made = BgpPeer(
        name=name,
        address=ip_address("192.0.2.1"),
        asn=asn,
        nodes=nodes,
        accept=accept,
        password=password,
        ttl_security=strict,
        labels=labels,
    )
    item = bgp.from_peer(made)
    assert bgp.to_peer(again(item), password) == made
    assert "secret" not in json.dumps(table.document(item))


@few
@given(st.integers(3, 65535), st.integers(0, 4095), st.booleans())
def test_any_settings(hold_time, graceful_restart, mesh) -> None:
    made = BgpSettings(hold_time=hold_time, graceful_restart=graceful_restart, mesh=mesh)
    assert bgp.to_settings(again(bgp.from_settings(made))) == made


@few
@given(
    names,
    labels,
    st.lists(st.sampled_from(["80:8080/tcp", "dns=53:dns/udp", "443/tcp"]), unique=True, min_size=1),
    st.sampled_from(["none", "client-ip"]),
    st.floats(0, 1000).map(lambda n: round(n, 2)),
    st.sampled_from([None, "tcp", "http:81/x?y=z", "api"]),
)
def test_any_service(name, labels, ports, affinity, drain, check) -> None:
    health = None if check is None else service.HealthSpec(check=check, interval=2.5)
    spec = service.ServiceSpec(ports=tuple(ports), select="a=b", affinity=affinity, drain=drain, health=health)
    item = again(Item(kind="Service", name=name, scope="blue", labels=labels, spec=spec))
    made = service.to_request(item)
    kept = Service(
        name=name,
        network="blue",
        select="a=b",
        ports=made.ports,
        affinity=made.affinity,
        drain=made.drain,
        health=made.health,
        labels=labels,
    )
    assert service.from_service(kept).same(item)


def test_the_schema_says_what_is_read() -> None:
    whole = schema()
    titles = [kind["title"] for kind in whole["oneOf"]]
    assert titles == [kind.name for kind in table.KINDS]
    spec = whole["components"]["schemas"]["NetworkSpec"]
    assert set(spec["properties"]) == {"driver", "subnets", "options", "internal", "mtu"}
    assert spec["required"] == ["driver"] and spec["additionalProperties"] is False
    assert "holdTime" in whole["components"]["schemas"]["BgpSettingsSpec"]["properties"]


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[-+.0-9eE_:x]{1,8}", fullmatch=True)))
def test_any_text_is_written_so_that_it_is_read_as_the_same(value: str) -> None:
    if not value.isprintable():
        return
    [found] = documents(text({"a": value, "b": [value]}), "f.yaml")
    assert found.value == {"a": value, "b": [value]} and yaml.safe_load(text({"a": value}))["a"] == value
