"""What goes with a device, and what is left of what stays, whatever came before: as a look at all there is would find it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.hoststates import hoststates
from weft.hoststate import Key, Object
from weft.reconcile import relations
from weft.reconcile.known import Known


@given(st.lists(hoststates(), min_size=1, max_size=4), st.data())
def test_as_a_look_at_all_there_is(states: list[dict[Key, Object]], data: st.DataObject) -> None:
    known = Known()
    for objects in states:
        known.become(objects)
        assert dict(known) == objects
    some = st.lists(
        st.sampled_from(sorted({key for state in states for key in state} or {("link", "", "x")})), max_size=3
    )
    for key in data.draw(some):
        known.pop(key)
    hosts = set(data.draw(some))
    for state in states:
        hosts.update(
            key for obj in state.values() for key in relations.hosts_of(obj) if data.draw(st.integers(0, 9)) == 0
        )
    assert known.fall(hosts) == relations.fall(hosts, dict(known))
    assert known.losing(hosts) == relations.losing(hosts, dict(known))
    known.become({})
    assert not known and not known._on
