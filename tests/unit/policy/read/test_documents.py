"""Files: several documents, lists, and what is no document; YAML and what of it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.policies import network_policy, objects, own, reading
from weft.base.errors import Invalid
from weft.documents.text import DEEPEST, documents
from weft.policy.model import Policy
from weft.policy.objects import ident
from weft.policy.read import Document, read


def plain(text: str) -> list[Any]:
    return [d.value for d in documents(text, "f.yaml")]


def test_several_documents() -> None:
    text = network_policy("{}", "a") + network_policy("{}", "b") + own("Tier", "{order: 1}", "c")
    assert [ident(item) for item in objects(text)] == ["networkpolicy/shop/a", "networkpolicy/shop/b", "tier//c"]


def test_lists_of_kubectl() -> None:
    items = "[{apiVersion: v1, kind: Namespace, metadata: {name: a}}, {apiVersion: v1, kind: Namespace, metadata: {}}]"
    found = reading(f"apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems: {items}")
    assert [ident(item) for item in found.objects] == ["namespace//a"]
    assert found.faults == ("f.yaml, line 1: items[1]: Namespace: metadata.name: it is missing",)
    kind = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicyList, items: [{metadata: {name: x}}]}"
    assert [ident(item) for item in objects(kind)] == ["networkpolicy/default/x"]
    assert reading("{kind: List, items: 5}").faults == ("f.yaml, line 1: List: items: a list is expected, not 5",)


def test_what_an_api_server_adds_says_nothing() -> None:
    text = """
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        metadata:
          name: web
          uid: 12
          resourceVersion: "5"
          creationTimestamp: 2026-01-01T00:00:00Z
          managedFields: [{manager: kubectl}]
          annotations: {note: x}
        spec: {}
        status: {}
        """
    (found,) = objects(text)
    assert isinstance(found, Policy)
    assert json.loads(found.document) == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "web", "annotations": {"note": "x"}},
        "spec": {},
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("just text", "f.yaml, line 1: document: a mapping is expected, not 'just text'"),
        ("[]", "f.yaml, line 1: document: a mapping is expected, not a list"),
        ("{}", "f.yaml, line 1: document: apiVersion: it is missing"),
        ("apiVersion: v1", "f.yaml, line 1: document: kind: it is missing"),
        ("{apiVersion: v1, kind: Pod, metadata: {name: x}}", "f.yaml, line 1: Pod x: kind: 'Pod' of 'v1' is none of"),
        ("{apiVersion: v1, kind: Namespace}", "f.yaml, line 1: Namespace: metadata: it is missing"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: A}}", "Namespace A: metadata.name: 'A': a name has"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: a/b}}", "metadata.name: 'a/b': a name has"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: a}, data: 1}", "Namespace a: 'data' is not a field of it"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: a, x: 1}}", "metadata: 'x' is not a field of it"),
        (
            '{apiVersion: v1, kind: Namespace, metadata: {name: a, annotations: {"\\e[2J": 1}}}',
            "annotations.\\x1b[2J: a text",
        ),
        (network_policy("{}", namespace="a.b"), "metadata.namespace: 'a.b': a namespace's name has"),
        (network_policy("{}", namespace="'-'"), "metadata.namespace: '-': a namespace's name has"),
    ],
)
def test_what_is_no_document_of_ours(text: str, fault: str) -> None:
    found = reading(text)
    assert found.objects == ()
    assert len(found.faults) == 1 and fault in found.faults[0]


def test_no_two_are_the_same() -> None:
    (fault,) = reading(network_policy("{}"), network_policy("{podSelector: {}}")).faults
    assert fault == "1.yaml, line 1: NetworkPolicy shop/web is there twice"


def test_nothing_is_in_empty_documents() -> None:
    assert reading("", "---\n---\n# nothing\n", "null").objects == ()


class TestYaml:
    def test_values(self) -> None:
        text = (
            "[a, 'b', 5, -5, 0, 1.5, 1e3, true, null, ~, , 0777, 0x10, 1:30, yes, on, 2026-01-01, .inf, !!str 5, '5']"
        )
        assert plain(text.replace(", ,", ",")) == [
            [
                "a",
                "b",
                5,
                -5,
                0,
                1.5,
                1000.0,
                True,
                None,
                None,
                "0777",
                "0x10",
                "1:30",
                "yes",
                "on",
                "2026-01-01",
                ".inf",
                "5",
                "5",
            ]
        ]
        assert plain("a: |\n  x\n  y\nb:\n") == [{"a": "x\ny\n", "b": None}]

    def test_aliases(self) -> None:
        assert plain("a: &x [1, {b: c}]\nd: *x") == [{"a": [1, {"b": "c"}], "d": [1, {"b": "c"}]}]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a: 1\nb: 2\na: 3", "f.yaml, line 3: 'a' is there twice"),
            ("a: 1\n'a': 3", "f.yaml, line 2: 'a' is there twice"),
            ("5: 1", "f.yaml, line 1: the name of a field is a text, not 5: put it in quotes"),
            ("[a]: 1", "f.yaml, line 1: the name of a field is a text, not a list"),
            ("a: *x", "f.yaml, line 1: there is no &x before *x"),
            ("a: &x [*x]", "f.yaml, line 1: there is no &x before *x"),
            ("a: &x 1\n---\nb: *x", "f.yaml, line 3: there is no &x before *x"),
            ("a: !!python/object:os.system x", "the tag 'tag:yaml.org,2002:python/object:os.system' is not supported"),
            ("a: !thing {}", "the tag '!thing' is not supported"),
            ("a: [", "f.yaml, line 2: this is not YAML"),
            ("a: b: c", "f.yaml, line 1: this is not YAML"),
            ("a: \x07", "f.yaml: this is not YAML"),
            ("[" * (DEEPEST + 1), f"f.yaml, line 1: there are more than {DEEPEST} mappings and lists in each other"),
            ("{a: " * 100_000, "there are more than"),
        ],
    )
    def test_what_is_refused(self, text: str, reason: str) -> None:
        with pytest.raises(Invalid) as error:
            plain(text)
        assert reason in str(error.value)

    def test_aliases_do_not_multiply(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
        with pytest.raises(Invalid, match="values in it"):
            plain("\n".join(lines))


def test_what_documents_are_read_from_need_not_be_yaml() -> None:
    value = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    assert [ident(item) for item in read([Document("x", value)]).objects] == ["namespace//a"]
    assert read([Document("x", {5: value})]).faults == (
        "x: document: the name of a field is a text, not 5: put it in quotes",
    )
