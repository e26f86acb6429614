"""Which nodes are meant, by their labels: `rack=a,zone!=b,gpu,!spare`, all of which must hold; "" means every node.

The equality-based and existence forms of Kubernetes' label selectors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.base.errors import Invalid

_WORD = r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(_WORD)
_TERM = re.compile(rf"(?P<not>!)?(?P<key>{_WORD})(?:(?P<op>!?=)(?P<value>({_WORD})?))?")


def check_labels(what: str, labels: Mapping[str, str]) -> None:
    """Raises Invalid where a selector could not name one of the labels."""
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or (value and not _KEY.fullmatch(value)):
            raise Invalid(
                f"{what}: label {key}={value}: use 1 to 63 of letters, digits, '.', '_', '/', '-' on either side, "
                "beginning and ending with a letter or digit"
            )


def check(selector: str) -> str:
    """Raises Invalid: names the term."""
    for term in _terms(selector):
        found = _TERM.fullmatch(term)
        if found is None or (found["not"] and found["op"]):
            raise Invalid(f"'{term}' in selector '{selector}' is none of KEY=VALUE, KEY!=VALUE, KEY, !KEY")
    return selector


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """`selector`: as `check` lets through. KEY!=VALUE also holds where there is no such label, as in Kubernetes."""
    return all(_holds(term, labels) for term in _terms(selector))


def _terms(selector: str) -> list[str]:
    return [term.strip() for term in selector.split(",")] if selector.strip() else []


def _holds(term: str, labels: Mapping[str, str]) -> bool:
    key, unequal, value = term.partition("!=")
    if unequal:
        return labels.get(key) != value
    key, equal, value = term.partition("=")
    if equal:
        return labels.get(key) == value
    return term[1:] not in labels if term.startswith("!") else term in labels
