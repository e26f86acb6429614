"""Whatever changes, in whatever order: the index says what one made anew of the end would say."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.policy_models import LABELS, POLICY, SPACES
from weft.policy import build
from weft.policy.index import Index, Local
from weft.policy.model import DIRECTIONS, Identity, NamedPort, Namespace, Policy
from weft.policy.world import World

_IDS = st.integers(0, 4)


def identity(number: int, labels: dict[str, str], space: str) -> Identity:
    return Identity(
        id=str(number),
        name=f"e{number}",
        network=f"n{number % 2}",
        node="here",
        addresses=(ip_address(f"10.0.0.{number}"),),
        namespace=space,
        labels=labels,
        ports=(NamedPort("web", "tcp", 80 + number),) if number % 3 else (),
    )


_STEP = (
    st.tuples(st.just("endpoint"), st.builds(identity, _IDS, LABELS, SPACES))
    | st.tuples(st.just("gone"), _IDS)
    | st.tuples(
        st.just("local"), st.tuples(_IDS, st.booleans(), st.sampled_from([("",), ("", "inner"), ("inner",), ()]))
    )
    | st.tuples(st.just("policies"), st.lists(POLICY, max_size=3, unique_by=lambda p: p.id))
    | st.tuples(st.just("namespaces"), st.dictionaries(SPACES, LABELS))
)


class Cluster:
    def __init__(self) -> None:
        self.identities: dict[tuple[str, str], Identity] = {}
        self.local: dict[tuple[str, str], tuple[str, ...]] = {}
        self.policies: list[Policy] = []
        self.namespaces: dict[str, Namespace] = {}

    @property
    def world(self) -> World:
        return World(self.policies, namespaces=self.namespaces)

    def learn(self, index: Index) -> None:
        index.learn(self.world)
        for key, found in self.identities.items():
            index.put(key, found)
        for key, spaces in self.local.items():
            if key in self.identities:
                index.put_local(key, Local(self.identities[key], spaces))


def said(index: Index) -> dict[str, object]:
    keys = index.identities.keys() | index.local.keys()
    return {
        "programs": {(k, d): p for k in keys for d in DIRECTIONS if (p := index.program(k, d)).chains},
        "members": {(k, spec): set(index.spaces(spec)) for k in keys for spec in index.entered(k)},
        "lookups": {
            (k, use, lookup, ns) for k in keys for spec in index.entered(k) for _, lookup, use, ns in index.uses(spec)
        },
        "sets": {spec: set(index.spaces(spec)) for spec in index.specs()},
    }


@pytest.fixture(autouse=True, scope="module")
def few_are_many() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "MANY", 0)
        yield


@given(st.lists(_STEP, max_size=12))
@settings(max_examples=300, deadline=None)
def test_what_is_kept_is_what_is_made_anew(steps: list[tuple[str, object]]) -> None:
    cluster, index = Cluster(), Index(lambda _networks, name: (name,))
    index.learn(cluster.world)
    before = said(index)
    for kind, what in steps:
        match kind, what:
            case "endpoint", Identity() as found:
                key = (found.network, found.id)
                cluster.identities[key] = found
                index.put(key, found)
                if key in cluster.local:
                    index.put_local(key, Local(found, cluster.local[key]))
            case "gone", int() as number:
                key = (f"n{number % 2}", str(number))
                cluster.identities.pop(key, None)
                cluster.local.pop(key, None)
                index.put_local(key, None)
                index.put(key, None)
            case "local", (int() as number, bool() as here, tuple() as spaces):
                key = (f"n{number % 2}", str(number))
                if key in cluster.identities and here:
                    cluster.local[key] = spaces
                    index.put_local(key, Local(cluster.identities[key], spaces))
                else:
                    cluster.local.pop(key, None)
                    index.put_local(key, None)
            case "policies", list() as policies:
                cluster.policies = policies
                index.learn(cluster.world)
            case "namespaces", dict() as labels:
                cluster.namespaces = {name: Namespace(name=name, labels=some) for name, some in labels.items()}
                index.learn(cluster.world)
        after, dirty = said(index), index.taken()
        anew = Index(lambda _networks, name: (name,))
        cluster.learn(anew)
        assert after == said(anew)
        assert _changed(before, after, "programs") <= dirty.programs
        assert _changed(before, after, "members") <= dirty.members
        assert {at[0] for at in _lookups(before) ^ _lookups(after)} <= dirty.members
        before = after


def _lookups(found: dict[str, object]) -> set[tuple[object, ...]]:
    some = found["lookups"]
    assert isinstance(some, set)
    return some


def _changed(before: dict[str, object], after: dict[str, object], what: str) -> set[object]:
    old, new = before[what], after[what]
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    return {at[0] for at in old.keys() | new.keys() if old.get(at) != new.get(at)}
