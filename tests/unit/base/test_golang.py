from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.base.golang import matched
from weft.cni import plugin

NAMES = ("hostPort", "HostIP", "dst")


def test_as_go_reads_keys() -> None:
    """https://pkg.go.dev/encoding/json#Unmarshal"""
    assert matched(NAMES, {"HostPort": 1, "HOSTIP": "x", "Dst": 2}) == {"hostPort": 1, "HostIP": "x", "dst": 2}
    assert matched(NAMES, {"hostPort": 1, "HostPort": 2}) == {"hostPort": 2}, "the last one counts"
    assert matched(NAMES, {"HostPort": 2, "hostPort": 1}) == {"hostPort": 1}
    assert matched(NAMES, {"hostPort": 1, "HostPort": None}) == {"hostPort": 1}, "null changes nothing"
    assert matched(NAMES, {"hostport2": 1, "": 2}) == {"hostport2": 1, "": 2}
    assert matched(("A", "a"), {"A": 1, "a": 2}) == {"A": 1, "a": 2}, "a key as it is spelt comes before any case"


keys = st.sampled_from(["hostPort", "HOSTPORT", "HostPort", "hostip", "dst", "DST", "dſt", "x"]) | st.text()


@given(st.dictionaries(keys, st.none() | st.integers()))
def test_the_cni_plugin_has_the_same(found: dict[str, int | None]) -> None:
    assert plugin.matched(NAMES, found) == matched(NAMES, found)
