"""The selector language against an evaluator that knows nothing of text: a tree is evaluated, written down in one of the
ways in which users could write it, and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from weft.base.errors import Invalid
from weft.policy.selector import matches

KEYS = ("a", "in", "not", "has", "x.y/z-1")
VALUES = ("", "a", "ab", "b", "it's", "in {")
SPACE = st.sampled_from(["", " ", "\n", " \t "])


@dataclass(frozen=True)
class Tree:
    """`what`: of the node; `key`, `values` or `parts` as it needs them."""

    what: str
    key: str = ""
    values: tuple[str, ...] = ()
    parts: tuple[Tree, ...] = ()


def truth(tree: Tree, labels: Mapping[str, str]) -> bool:
    here = [value for key, value in labels.items() if key == tree.key]
    match tree.what:
        case "all":
            return True
        case "has":
            return len(here) == 1
        case "in":
            return any(value == other for value in here for other in tree.values)
        case "not in":
            return not truth(Tree("in", tree.key, tree.values), labels)
        case "contains":
            return any(tree.values[0] in value for value in here)
        case "starts with":
            return any(value[: len(tree.values[0])] == tree.values[0] for value in here)
        case "ends with":
            return any(value[len(value) - len(tree.values[0]) :] == tree.values[0] for value in here)
        case "!":
            return not truth(tree.parts[0], labels)
        case "&&":
            return sum(truth(part, labels) for part in tree.parts) == len(tree.parts)
    return sum(truth(part, labels) for part in tree.parts) > 0


LEAVES = st.one_of(
    st.just(Tree("all")),
    st.builds(Tree, st.just("has"), st.sampled_from(KEYS)),
    st.builds(
        Tree, st.sampled_from(["in", "not in"]), st.sampled_from(KEYS), st.lists(st.sampled_from(VALUES)).map(tuple)
    ),
    st.builds(
        Tree,
        st.sampled_from(["contains", "starts with", "ends with"]),
        st.sampled_from(KEYS),
        st.tuples(st.sampled_from(VALUES)),
    ),
)


def _of_parts(parts: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(parts, min_size=2, max_size=4).map(tuple)
    return st.one_of(
        st.builds(Tree, st.just("!"), parts=st.tuples(parts)),
        st.builds(Tree, st.sampled_from(["&&", "||"]), parts=several),
    )


TREES = st.recursive(LEAVES, _of_parts, max_leaves=12)
LABELS = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))


def written(tree: Tree, draw: st.DrawFn, within: int = 0) -> str:
    """`within`: how much the surroundings bind, 0: not at all, 1: "||", 2: "&&", 3: "!"."""
    space = draw(SPACE)
    match tree.what:
        case "all":
            return f"all({space})"
        case "has":
            return f"has({space}{tree.key}{space})"
        case "!":
            return f"!{space}{written(tree.parts[0], draw, 3)}"
        case "&&" | "||":
            binds = 2 if tree.what == "&&" else 1
            inside = f"{space}{tree.what}{space}".join(written(part, draw, binds) for part in tree.parts)
            return f"({space}{inside})" if binds <= within or draw(st.booleans()) else inside
    return _comparison(tree, space, draw)


def _comparison(tree: Tree, space: str, draw: st.DrawFn) -> str:
    quoted = [f'"{value}"' if "'" in value or draw(st.booleans()) else f"'{value}'" for value in tree.values]
    if tree.what in ("in", "not in"):
        if len(quoted) == 1 and draw(st.booleans()):
            return f"{tree.key}{space}{'==' if tree.what == 'in' else '!='}{space}{quoted[0]}"
        return f"{tree.key} {tree.what}{space}{{{space}{f'{space},'.join(quoted)}{space}}}"
    return f"{tree.key} {tree.what}{space}{quoted[0]}"


@st.composite
def texts(draw: st.DrawFn) -> tuple[Tree, str]:
    tree = draw(TREES)
    return tree, written(tree, draw)


@given(texts(), st.lists(LABELS, min_size=1, max_size=8))
def test_a_text_means_what_its_tree_means(both: tuple[Tree, str], several: list[dict[str, str]]) -> None:
    tree, text = both
    for labels in several:
        assert matches(text, labels) == truth(tree, labels), text


TOKENS = [
    "a",
    "in",
    "not in",
    "not",
    "==",
    "!=",
    "!",
    "&&",
    "||",
    "(",
    ")",
    "{",
    "}",
    ",",
    "'x'",
    '"',
    "'",
    " ",
    "has(",
]
TOKENS += ["all()", "global()", "contains", "starts with", "=", "&", "\0", "é", "\N{LINE SEPARATOR}"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(TOKENS)).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert matches(text, {"a": "x"}) in (True, False)
    except Invalid as error:
        assert str(error).startswith("selector '")
