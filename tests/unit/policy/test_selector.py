import pytest

from weft.base.errors import Invalid
from weft.policy.selector import DEEPEST, LONGEST, check, matches

DB = {"role": "db", "zone": "a", "example.com/tier": "back-end"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "all()",
        "role == 'db'",
        'role=="db"',
        "role != 'web'",
        "nothing != 'x'",
        "zone in {'a', \"b\"}",
        "zone in{'a',}",
        "zone not in {'b'}",
        "zone notin {'b'}",
        "nothing not in {'b'}",
        "zone not in {}",
        "has(role)",
        "has( example.com/tier )",
        "!has(old)",
        "!!has(role)",
        "! ! ! has(old)",
        "example.com/tier contains 'ck-'",
        "example.com/tier starts with 'back'",
        "example.com/tier startswith 'back'",
        "example.com/tier ends with 'end'",
        "has(old) || has(role)",
        "has(old) && has(old) || has(role)",
        "has(role) || has(old) && has(old)",
        "(has(role) || has(old)) && !has(old)",
        "!(has(role) && has(old))",
        "role == 'db'\n  && zone == 'a'",
        "global()",
    ],
)
def test_matches(text: str) -> None:
    assert matches(check(text), DB)


@pytest.mark.parametrize(
    "text",
    [
        "!all()",
        "role == 'd'",
        "role == 'DB'",
        "role == ''",
        "nothing == ''",
        "nothing contains ''",
        "nothing starts with ''",
        "nothing ends with ''",
        "zone in {}",
        "nothing in {'a'}",
        "has(Role)",
        "!has(role) && has(zone)",
        "(has(role) || has(old)) && has(old)",
    ],
)
def test_does_not_match(text: str) -> None:
    assert not matches(check(text), DB)


def test_global_is_what_is_in_no_namespace() -> None:
    assert matches("global()", {})
    assert not matches("global()", {"kubernetes.io/metadata.name": "shop"})


def test_words_of_the_grammar_may_be_labels() -> None:
    labels = {"in": "in", "not": "x", "all": "y", "has": "z", "contains": "contains"}
    assert matches("in in {'in'} && not == 'x' && all == 'y' && has == 'z' && contains contains 'contains'", labels)


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("role", "at its end", "one of =="),
        ("role = 'db'", "at character 6, '= 'db''", "one of =="),
        ("role == db", "at character 9, 'db'", "a text in quotes"),
        ("role == 'db", "at character 9", "a text in quotes"),
        ("role in 'db'", "at character 9", "a set such as"),
        ("role in {'a' 'b'}", "at character 14, ''b'}'", "',' or '}'"),
        ("role in {'a', b}", "at character 15, 'b}'", "or '}'"),
        ("role in {", "at its end", "or '}'"),
        ("role inside {'a'}", "at character 6", "one of =="),
        ("has(role", "at character 4, '(role'", "one of =="),
        ("has()", "at character 4, '()'", "one of =="),
        ("!", "at its end", "has(LABEL)"),
        ("has(a) &&", "at its end", "has(LABEL)"),
        ("has(a) has(b)", "at character 8, 'has(b)'", "the end"),
        ("has(a) & has(b)", "at character 8", "'&&', '||'"),
        ("(has(a)", "at its end", "')'"),
        ("has(a))", "at character 7", "the end"),
        ("röle == 'x'", "at character 2", "one of =="),
        ("a\N{NO-BREAK SPACE}== 'x'", "at character 2", "one of =="),
    ],
)
def test_an_error_names_the_place_and_what_is_expected(text: str, place: str, expected: str) -> None:
    with pytest.raises(Invalid) as error:
        check(text)
    assert str(error.value).startswith("selector '")
    assert place in str(error.value)
    assert expected in str(error.value)


def test_a_selector_is_bounded() -> None:
    assert matches("(" * DEEPEST + "all()" + ")" * DEEPEST, {})
    with pytest.raises(Invalid, match="parentheses in each other"):
        check("(" * (DEEPEST + 1) + "all()" + ")" * (DEEPEST + 1))
    with pytest.raises(Invalid, match="are the most"):
        check("has(a) || " * (LONGEST // 10) + "has(a)" + " " * 10)
    assert matches("!" * (LONGEST - 6) + "has(a)", {"a": ""})
    assert matches("has(a) || " * (LONGEST // 10 - 1) + "has(b)", {"b": ""})
