"""Keys change without loss: whatever the order in which things are made, told and read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.mesh.rotation import Drawn, due, prepare, restart, tell


@given(st.lists(st.sampled_from(["prepare", "install", "tell", "switch", "crash"]), max_size=60))
def test_a_sender_never_uses_what_the_receiver_lacks(steps: list[str]) -> None:
    drawn, installed, record, sends = Drawn(boot="b", start="s", salts=("0",)), {"0"}, "0", "0"
    number = 0
    for step in steps:
        match step:
            case "prepare" if sends == record:  # the interval is long: by then the sender has read the last change
                if not drawn.coming:
                    number += 1
                drawn = prepare(drawn, str(number))
            case "install" | "crash":  # an agent that was killed begins with what it had drawn
                installed = set(drawn.taken)
            case "tell" if drawn.coming and installed == set(drawn.taken):  # once the states stand
                drawn = tell(drawn, 0.0)
                record = drawn.told
            case "switch":
                sends = record
        assert sends in installed


def test_without_the_wait_for_the_states_it_would_be_lost() -> None:
    """What the property above rests on."""
    drawn, installed = Drawn(boot="b", start="s", salts=("0",)), {"0"}
    assert tell(prepare(drawn, "1"), 0.0).told not in installed


def test_the_one_before_stays_until_the_next_change() -> None:
    drawn = Drawn(boot="b", start="s", salts=("0",))
    once = tell(prepare(drawn, "1"), 5.0)
    assert (once.told, once.taken, once.since) == ("1", ("1", "0"), 5.0)
    assert prepare(once, "2").taken == ("2", "1")


def test_a_change_that_was_begun_is_finished() -> None:
    begun = prepare(Drawn(boot="b", start="s", salts=("0",)), "1")
    assert prepare(begun, "2") == begun and due(begun, 0.0, 100.0)
    assert not due(tell(begun, 10.0), 109.0, 100.0) and due(tell(begun, 10.0), 110.0, 100.0)


def test_a_new_start_leaves_what_others_send_by() -> None:
    drawn = Drawn(boot="b", start="s", salts=("1", "0"))
    assert restart(drawn, "t").taken == drawn.taken and restart(drawn, "t").start == "t"
