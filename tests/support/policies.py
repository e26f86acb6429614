"""Policies out of YAML."""

from __future__ import annotations

from textwrap import dedent

from weft.documents.text import documents
from weft.policy.objects import Object
from weft.policy.read import Reading, read


def reading(*texts: str) -> Reading:
    return read(d for n, text in enumerate(texts) for d in documents(dedent(text), f"{n or 'f'}.yaml"))


def objects(*texts: str) -> tuple[Object, ...]:
    found = reading(*texts)
    assert not found.faults
    return found.objects


def network_policy(spec: str, name: str = "web", namespace: str = "shop") -> str:
    """`spec`: in flow style, `{podSelector: {}}`."""
    return _document("networking.k8s.io/v1", "NetworkPolicy", name, namespace, spec)


def cluster_policy(spec: str, name: str = "all") -> str:
    return _document("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", name, "", spec)


def own_policy(spec: str, name: str = "mine", namespace: str = "") -> str:
    return _document("weft/v1", "Policy", name, namespace, spec)


def own(kind: str, spec: str, name: str, namespace: str = "", labels: str = "{}") -> str:
    return _document("weft/v1", kind, name, namespace, spec, labels)


def _document(version: str, kind: str, name: str, namespace: str, spec: str, labels: str = "{}") -> str:
    place = f", namespace: {namespace}" if namespace else ""
    return (
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}{place}, labels: {labels}}}\nspec: {spec}\n---\n"
    )
