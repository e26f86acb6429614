"""Kubernetes' labels and label selectors, as selectors of Weft (`weft.policy.selector`)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.base.errors import Invalid
from weft.documents.field import Bad, Field, Log, said
from weft.policy.model import NAME_LABEL

_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DNS = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_KEY = re.compile(rf"((?=[^/]{{1,253}}/){_DNS}/)?{_NAME}")
_VALUE = re.compile(rf"({_NAME})?")

_KEY_EXPECTED = (
    "a label is called by 1 to 63 of letters, digits, '-', '_', '.', beginning and ending with a letter or digit, "
    "if need be after a DNS name and '/'"
)
_VALUE_EXPECTED = (
    "a label's value has up to 63 of letters, digits, '-', '_', '.', beginning and ending with a letter or digit"
)
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")

MOST = 256
"""Labels of one thing, and conditions of one selector."""


def from_kubernetes(selector: Mapping[str, object]) -> str:
    """A label selector (`matchLabels`, `matchExpressions`). Raises Invalid: names the field."""
    try:
        return read_selector(Field(selector, "", Log()))
    except Bad as bad:
        raise Invalid(str(bad)) from None


def read_selector(field: Field) -> str:
    """ "" of one that is empty: it selects all. The same conditions give the same text, in whatever order they stand."""
    field.of("matchLabels", "matchExpressions")
    equal = [f"{key} == '{value}'" for key, value in read_labels(field["matchLabels"]).items()]
    others = [_expression(item) for item in field["matchExpressions"].items(MOST)]
    return " && ".join(sorted({*equal, *others}))


def read_labels(field: Field) -> dict[str, str]:
    names = field.names()
    if len(names) > MOST:
        field.refuse(f"{len(names)} are too many: at most {MOST}")
    return {_key(Field(name, field.path, field.log)): _value(field[name]) for name in sorted(names)}


def named(namespace: str) -> str:
    """Selects one namespace, by its name."""
    return f"{NAME_LABEL} == '{namespace}'"


def _key(field: Field) -> str:
    return field.matching(_KEY, _KEY_EXPECTED)


def _value(field: Field) -> str:
    found = field.text()
    return found if _VALUE.fullmatch(found) else field.refuse(f"{said(found)}: {_VALUE_EXPECTED}")


def _expression(field: Field) -> str:
    field.of("key", "operator", "values")
    key, operator = _key(field["key"]), field["operator"].choice(_OPERATORS)
    values = sorted({_value(item) for item in field["values"].items()})
    if operator in ("Exists", "DoesNotExist"):
        if values:
            field["values"].refuse(f"operator {operator} takes none")
        return f"has({key})" if operator == "Exists" else f"!has({key})"
    if not values:
        field["values"].refuse(f"operator {operator} needs at least one")
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{key} {'in' if operator == 'In' else 'not in'} {{{listed}}}"
