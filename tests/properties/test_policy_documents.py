"""Whatever users write, it is read or refused, with a printable line that names the place; and of what is refused nothing is
left that could be applied by mistake."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.policies import cluster_policy, network_policy, own, own_policy
from weft.base.errors import Invalid
from weft.documents.text import documents
from weft.policy.objects import document, ident, store_key
from weft.policy.read import Document, read

LABELS = "{matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [x]}]}"
GOOD = [
    yaml.safe_load(text.removesuffix("---\n"))
    for text in (
        network_policy(
            f"{{podSelector: {LABELS}, policyTypes: [Ingress, Egress], ingress: [{{from: [{{namespaceSelector: {LABELS}}}, "
            "{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{protocol: UDP, port: 5, endPort: 6}]}], "
            "egress: [{to: [], ports: [{port: web}]}]}"
        ),
        cluster_policy(
            f"{{tier: Admin, priority: 5, subject: {{pods: {{namespaceSelector: {LABELS}, podSelector: {{}}}}}}, "
            "egress: [{name: x, action: Pass, to: [{networks: [10.0.0.0/8]}, {nodes: {}}], protocols: "
            "[{tcp: {destinationPort: {range: {start: 5, end: 6}}}}]}]}"
        ),
        own_policy(
            "{tier: x, order: 5, selector: has(a), networks: [blue], types: [Ingress, Egress], ingress: [{action: Log, "
            "protocol: TCP, notProtocol: 17, source: {selector: a == 'b', notNets: [10.0.0.0/8], networkSets: has(b)}, "
            "destination: {ports: [5, '6:7', web]}}, {action: Deny, protocol: ICMP, icmp: {type: 8, code: 0}}], "
            "egress: [{action: Pass, destination: {notSelector: has(c)}}]}"
        ),
        own("Tier", "{order: 5, defaultAction: Pass}", "audit"),
        own("NetworkSet", "{nets: [10.0.0.0/8]}", "out", "shop", "{a: b}"),
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {a: b}}}",
    )
]
NAMES = sorted({name for text in map(str, GOOD) for name in text.replace("'", " ").split() if name.isalnum()})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([*NAMES, "all()", "::/0"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(NAMES), SCALARS), inner, max_size=3)
    ),
    max_leaves=8,
)


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for name, child in inner for place in _places(child, (*way, name)))]


def _changed(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    if not way:
        return new
    if isinstance(value, dict):
        return {name: _changed(child, way[1:], new) if name == way[0] else child for name, child in value.items()}
    return [_changed(child, way[1:], new) if n == way[0] else child for n, child in enumerate(value)]


@st.composite
def nearly_good(draw: st.DrawFn) -> Any:
    value = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 2))):
        value = _changed(value, draw(st.sampled_from(_places(value))), draw(VALUES))
    return value


def test_the_good_ones_are_good() -> None:
    assert read(Document("x", value) for value in GOOD).faults == ()


@given(st.lists(st.one_of(nearly_good(), VALUES), max_size=3))
def test_any_document_is_read_or_refused(values: list[Any]) -> None:
    found = read(Document(f"file-{n}", value) for n, value in enumerate(values))
    for line in (*found.faults, *found.notes):
        assert line.startswith("file-") and line.isprintable(), line
    for item in found.objects:
        assert store_key(item).isprintable() and len(ident(item).split("/")) == 3
        again = read([Document("again", document(item))])
        assert again.objects == (item,), "what is shown can be applied again"


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from([*list("ab:-[]{}&*!|>'\"#%\n ,?"), "---\n", "a: ", "\x00"])).map("".join)
    )
)
def test_any_text_is_yaml_or_refused(text: str) -> None:
    try:
        found = list(documents(text, "f"))
    except Invalid as error:
        assert str(error).startswith("f")
    else:
        read(found)
