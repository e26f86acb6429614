"""A struct as part of a document, read field by field by its types, and written without what is left to defaults."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from weft.base.errors import WeftError
from weft.base.net import IPAddress, IPNetwork, parse_address, parse_network
from weft.documents.field import Field, said
from weft.model import to_builtins

T = TypeVar("T", bound=msgspec.Struct)

_PARSERS: dict[Any, Any] = {IPAddress: parse_address, IPNetwork: parse_network}
_SCALAR = frozenset((str, int, bool))
_LARGEST = 2**63 - 1
MOST = 4_096
"""Items of one list."""


def read(cls: type[T], field: Field) -> T:
    """Raises Bad: names the field, and one that is nearly called so."""
    known = msgspec.structs.fields(cls)
    field.of(*(one.encode_name for one in known))
    values: dict[str, Any] = {}
    for one in known:
        inner = field[one.encode_name]
        if one.required:
            inner.required()
        if inner:
            values[one.name] = _value(one.type, inner)
    found: T = built(lambda: cls(**values), field)
    return found


def built(make: Any, field: Field) -> Any:
    """What `make` returns, which raises a WeftError for values that cannot be."""
    try:
        return make()
    except WeftError as error:
        field.refuse(str(error))


def _value(kind: Any, field: Field) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _value(inside[0], field)
    if origin in (Union, UnionType):
        return _one_of(inside, field)
    if origin is Literal:
        return field.choice(inside)
    if origin is tuple:
        return field.each(lambda item: _value(inside[0], item.required()), MOST)
    if origin is dict:
        return {name: _value(inside[1], field[name].required()) for name in field.names()}
    if kind in _PARSERS:
        return field.as_said(_PARSERS[kind])
    return read(kind, field) if issubclass(kind, msgspec.Struct) else _scalar(kind, field)


def _one_of(kinds: tuple[Any, ...], field: Field) -> Any:
    """Null counts as not there, so of `X | None` X is left. Else these are the plain types of a driver's options."""
    real = [kind for kind in kinds if kind is not type(None)]
    if len(real) == 1:
        return _value(real[0], field)
    assert set(real) == _SCALAR, f"no document has a field of {kinds}"
    if not isinstance(field.value, str | int | bool):
        field.refuse(f"a text, a whole number, true or false is expected, not {said(field.value)}")
    return field.text() if isinstance(field.value, str) else field.value


def _scalar(kind: Any, field: Field) -> Any:
    if kind is bool:
        if not isinstance(field.value, bool):
            field.refuse(f"true or false is expected, not {said(field.value)}")
        return field.value
    if kind is int:
        return field.integer(-_LARGEST, _LARGEST)
    return field.number() if kind is float else field.text()


def write(value: msgspec.Struct) -> dict[str, Any]:
    """Plain values, in the order in which the fields are declared."""
    found = {}
    for one in msgspec.structs.fields(type(value)):
        said = getattr(value, one.name)
        default = one.default if one.default_factory is msgspec.NODEFAULT else one.default_factory()
        if one.required or said != default:
            found[one.encode_name] = write(said) if isinstance(said, msgspec.Struct) else _plain(said)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return to_builtins(value)
