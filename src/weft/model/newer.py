"""What a newer version of Weft has written into a record, kept by an older one that writes the record again.

Records grow by fields with a default, so each version reads what any other has written, and leaves out what it does not
know. Where it changes such a record, what it left out has to stay (docs/adr/0069-versions.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from weft.model.codec import encode


def unknown(written: bytes, record: object) -> bytes:
    """`written`, as it stands in the store, where it says more than `record`, which was read from it; else b"". What is not a
    JSON object says nothing more."""
    if not written.startswith(b"{"):
        return b""
    known = encode(record)
    if known == written or not any(_fields(_parsed(written), _parsed(known), "")):
        return b""
    return written


def fields(written: bytes, record: object) -> tuple[str, ...]:
    """The names of these fields: "offload", "ports.weight"."""
    return tuple(dict.fromkeys(_fields(_parsed(written), _parsed(encode(record)), "")))


def carried(written: bytes, record: object, new: bytes) -> bytes:
    """`new`, which is to stand in the place of `written`, with what `written` says and `record`, which was read from it, does
    not. Whoever knows no more than `record` reads the same from it as from `new`."""
    return encode(_carried(_parsed(written), _parsed(encode(record)), _parsed(new)))


def _fields(written: Any, known: Any, path: str) -> Iterator[str]:
    if isinstance(written, dict) and isinstance(known, dict):
        for name, value in written.items():
            if name in known:
                yield from _fields(value, known[name], f"{path}{name}.")
            else:
                yield f"{path}{name}"
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for one, other in zip(written, known, strict=True):
            yield from _fields(one, other, path)


def _carried(written: Any, known: Any, new: Any) -> Any:
    if _same(new, known):
        return written
    if isinstance(written, dict) and isinstance(known, dict) and isinstance(new, dict):
        kept = {name: value for name, value in written.items() if name not in known}
        return kept | {
            name: _carried(written[name], known[name], value) if name in known and name in written else value
            for name, value in new.items()
        }
    if isinstance(written, list) and isinstance(known, list) and len(written) == len(known) and isinstance(new, list):
        former = {_text(one): other for one, other in zip(known, written, strict=True)}
        return [former.get(_text(item), item) for item in new]
    return new


def _same(one: Any, other: Any) -> bool:
    """As JSON has it: 1 is neither true nor 1.0."""
    return _text(one) == _text(other)


def _text(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _parsed(text: bytes) -> Any:
    return msgspec.json.decode(text)
