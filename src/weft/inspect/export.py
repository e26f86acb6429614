"""What a host knows for a trace, as a file that is carried to another one."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Collection
from pathlib import Path

import msgspec

from weft import __version__
from weft.api import types as t
from weft.api.dump import ALONE, HostDump
from weft.base.errors import Failed, Invalid, NotFound, WeftError
from weft.inspect.here import Here
from weft.model.codec import decode, encode

_GZIP = b"\x1f\x8b"
_KIND = "weft trace export"


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoints`: the host's containers. `info`: the host as a node."""

    kind: str = _KIND
    version: str = __version__
    host: HostDump
    endpoints: tuple[t.EndpointInfo, ...] = ()
    info: t.NodeInfo


def exported(names: Collection[str]) -> Export:
    """This host, with these containers, or all. Raises NotFound, Denied."""
    here = Here()
    if not names:
        return _of(here, here.all())
    meant = tuple(here.meant(names))
    if missing := [name for name in names if name not in {each.container for each in meant}]:
        raise NotFound(f"no container here is called {missing[0]}: `weft netns` lists those there are")
    return _of(here, meant)


def _of(here: Here, endpoints: tuple[t.EndpointInfo, ...]) -> Export:
    addresses = (str(at.ip) for each in endpoints for at in each.addresses)
    told = here.kernel(",".join(each.namespace for each in endpoints) or ALONE, ",".join(addresses))
    return Export(host=told, endpoints=endpoints, info=here.node)


def write(export: Export, to: str) -> None:
    """`to`: a file, compressed if its name ends with .gz; "" or - for standard output. Raises Failed."""
    data = encode(export) + b"\n"
    try:
        if to in ("", "-"):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            Path(to).write_bytes(gzip.compress(data, 6) if to.endswith(".gz") else data)
    except OSError as error:
        raise Failed(f"{to or 'standard output'} cannot be written: {error.strerror}") from None


def read(path: str) -> Export:
    """Raises NotFound, Invalid."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}: `weft trace export -o FILE` on the other host writes one") from None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = decode(Export, gzip.decompress(data) if data.startswith(_GZIP) else data)
    except (WeftError, OSError, EOFError) as error:
        raise Invalid(f"{path} is not what `weft trace export` writes: {error}") from None
    if found.kind != _KIND:
        raise Invalid(f"{path} is not what `weft trace export` writes: it is of kind {found.kind}")
    return found
