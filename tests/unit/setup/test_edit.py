"""A settings file is changed and keeps what a person wrote there."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.config import text as commented
from weft.base.errors import Failed, Invalid
from weft.setup.edit import edited

MINE = """# our rack
node = "node-1"   # as in the inventory
address = [
  "10.0.0.1",  # the first
  "fd00::1",
]

#store = "old"
# and so on
resync=30

[labels] # by hand
zone = "a"
store = "not ours"
"""


def test_every_comment_and_setting_stays_and_each_new_one_has_its_place() -> None:
    after = edited(MINE, {"node": "node-2", "store": "mesh://h1", "iface": "eth0", "address": ["10.0.0.2"]})
    assert (
        after
        == """# our rack
node = "node-2"   # as in the inventory
address = ["10.0.0.2"]

#store = "old"
store = "mesh://h1"
# and so on
resync=30
iface = "eth0"

[labels] # by hand
zone = "a"
store = "not ours"
"""
    )


def test_what_is_so_already_is_not_touched() -> None:
    same = {"node": "node-1", "address": ["10.0.0.1", "fd00::1"], "resync": 30.0}
    assert edited(MINE, {"node": "node-1", "address": ["10.0.0.1", "fd00::1"]}) == MINE
    assert tomllib.loads(edited(MINE, same)) == tomllib.loads(MINE)


def test_the_commented_file_is_filled_in_below_each_explanation() -> None:
    lines = edited(commented(), {"store": "etcds://weft@h1"}).splitlines()
    at = lines.index('store = "etcds://weft@h1"')
    assert (
        lines[at - 1] == '#store = "sqlite:///var/lib/weft/weft.db"' and len(lines) == len(commented().splitlines()) + 1
    )


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", 'node = "x"\n'),
        ('"node" = "a"', 'node = "x"\n'),
        ("node = '#' # why", 'node = "x" # why\n'),
        ('node = """\nb\n"""\nresync = 5\n', 'node = "x"\nresync = 5\n'),
        ("[labels]\n", 'node = "x"\n[labels]\n'),
        ('note = """\n[labels]\nnode = 1\n"""\n', 'note = """\n[labels]\nnode = 1\n"""\nnode = "x"\n'),
        ("# ä\r\n", '# ä\r\nnode = "x"\n'),
    ],
)
def test_corners(text: str, after: str) -> None:
    assert edited(text, {"node": "x"}) == after


def test_what_cannot_be_edited_is_refused_with_what_to_write() -> None:
    with pytest.raises(Failed, match='write there yourself: store = "x"'):
        edited('store.url = "y"\n', {"store": "x"})
    with pytest.raises(Invalid, match="is no TOML"):
        edited("node = ", {"node": "x"})


VALUES = st.one_of(st.text(max_size=8), st.booleans(), st.lists(st.text(max_size=4), max_size=3))


@given(st.dictionaries(st.sampled_from(["node", "store", "iface", "resync", "other"]), VALUES), st.booleans())
def test_whatever_is_put_in_is_read_out_and_putting_it_in_again_changes_nothing(
    wanted: dict[str, object], mine: bool
) -> None:
    before = MINE if mine else commented()
    after = edited(before, wanted)  # type: ignore[arg-type]
    assert tomllib.loads(after) == {**tomllib.loads(before), **wanted}
    assert edited(after, wanted) == after  # type: ignore[arg-type]
    assert {line for line in before.splitlines() if line.startswith("#")} <= set(after.splitlines())
