"""Model values as JSON bytes and back. Addresses and prefixes are strings in JSON."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from threading import Lock
from typing import Any, TypeVar

import msgspec

from weft.base.errors import Invalid, WeftError
from weft.base.net import IPAddress, IPInterface, IPNetwork, parse_address, parse_interface, parse_network

T = TypeVar("T")

_PARSERS: dict[Any, Any] = {
    IPAddress: parse_address,
    IPNetwork: parse_network,
    IPInterface: parse_interface,
}


def _enc_hook(value: Any) -> Any:
    if isinstance(value, tuple(_PARSERS)):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _dec_hook(cls: type, value: Any) -> Any:
    return _PARSERS[cls](value)


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook, order="deterministic")

_learning = Lock()
"""msgspec looks at a class when it first decodes one, and leaves what it has found so far where another thread takes it
for the whole: a segmentation fault. So one thread at a time learns classes, and only learnt ones are decoded."""


@cache
def _learnt(cls: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls, dec_hook=_dec_hook)


def _decoder(cls: Any) -> msgspec.json.Decoder[Any]:
    with _learning:
        return _learnt(cls)


def encode(value: object) -> bytes:
    return _encoder.encode(value)


def decode(cls: type[T], data: bytes) -> T:
    """Raises Invalid: the text names the field."""
    try:
        value: T = _decoder(cls).decode(data)
        return value
    except msgspec.ValidationError as error:
        raise _explained(cls, error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"not a {_name(cls)}: {error}") from None
    except RecursionError:
        raise Invalid(f"not a {_name(cls)}: it is nested too deeply") from None


def to_builtins(value: object) -> Any:
    """Plain dicts, lists and strings, as `-o json` shows them."""
    return msgspec.to_builtins(value, enc_hook=_enc_hook)


def convert(cls: type[T], value: object, *, strict: bool = True) -> T:
    """A `cls` from plain values; with `strict=False` strings may stand for numbers and booleans."""
    _decoder(cls)
    try:
        return msgspec.convert(value, cls, dec_hook=_dec_hook, strict=strict)
    except msgspec.ValidationError as error:
        raise _explained(cls, error) from None


def _explained(cls: type, error: Exception) -> WeftError:
    cause = error.__cause__
    return cause if isinstance(cause, WeftError) else Invalid(f"{_name(cls).lower()}: {error}")


def _name(cls: Any) -> str:
    return getattr(cls, "__name__", str(cls))


def schemas(types: Iterable[Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """JSON Schema of each type, and of the components they refer to by "#/components/schemas/NAME"."""
    return msgspec.json.schema_components(types, schema_hook=_schema_hook, ref_template="#/components/schemas/{name}")


def _schema_hook(cls: Any) -> dict[str, Any]:
    return {"type": "string", "description": _WORDS[cls]}


_WORDS: dict[Any, str] = {IPAddress: "IP address", IPNetwork: "prefix", IPInterface: "IP address with prefix length"}
