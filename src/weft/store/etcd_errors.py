"""What etcd's answers mean. Codes and texts: etcd's api/v3rpc/rpctypes/error.go."""

from __future__ import annotations

import re

import grpc
import grpc.aio

from weft.base.errors import Denied, Failed, Invalid, NotFound, Unavailable, WeftError
from weft.store.protocol import Compacted


class ToCome(Compacted):
    """The store has not come to that revision: it was put back to an earlier state, or is another one."""


_CODES: dict[grpc.StatusCode, type[WeftError]] = {
    grpc.StatusCode.UNAUTHENTICATED: Denied,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.INVALID_ARGUMENT: Invalid,
    grpc.StatusCode.UNIMPLEMENTED: Failed,
    grpc.StatusCode.DATA_LOSS: Failed,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.OUT_OF_RANGE: Compacted,
}
"""Any other code: Unavailable."""

_TEXTS: dict[str, tuple[type[WeftError], str]] = {
    "user name is empty": (Denied, "it wants a user: write user:password@ into the store's URL"),
    "invalid auth token": (Denied, "check the user and the password"),
    "permission denied": (Denied, "give the user a role that may read and write the store's prefix"),
    "requested lease not found": (NotFound, "the lease has ended, grant it again"),
    "database space exceeded": (Unavailable, "compact and defragment it, then disarm the alarm (etcdctl alarm disarm)"),
    "CERTIFICATE_VERIFY_FAILED": (Unavailable, "name the authority of its certificate with the store's ca option"),
    "handshake failed": (
        Unavailable,
        "check that it speaks TLS (else write etcd://), and the ca, cert and key options",
    ),
    "Unwrap failed": (Unavailable, "it wants a client certificate: give the store's cert and key options"),
    "Socket closed": (Unavailable, "check that it runs, and whether it wants TLS (then write etcds://)"),
    "required revision has been compacted": (Compacted, "list again"),
    "required revision is a future revision": (ToCome, "list again"),
}
"""Part of etcd's or gRPC's text: class, way out. They come before the codes."""

_WAY_OUT: dict[type[WeftError], str] = {
    Unavailable: "check that it runs and can be reached; it is tried again",
    Denied: "check the user, the password and the user's roles",
}

_DETOUR = re.compile(r"failed to connect to all addresses; last error: \w+: \S+: ")
"""What gRPC says before it comes to the point."""

_ENDED = re.compile(r"Stream removed \((?:recvmsg:)?(.+?)(?: \(\d+\))?(?: \(GOAWAY received.*\))?\)")
"""What it makes of a call that etcd did not come to answer: why, with what its own layers made of that."""

_STALE = ("invalid auth token", "user name is empty", "revision in header is old")


def explain(error: grpc.aio.AioRpcError, endpoint: str) -> WeftError:
    return explain_text(error.details() or error.code().name, endpoint, _CODES.get(error.code(), Unavailable))


def explain_text(text: str, endpoint: str, otherwise: type[WeftError] = Unavailable) -> WeftError:
    """`text`: etcd's own words, as in a watch's cancel_reason."""
    known = (found for part, found in _TEXTS.items() if part in text)
    meaning, way_out = next(known, (otherwise, _WAY_OUT.get(otherwise, "")))
    reason = " ".join(_ENDED.sub(r"\1", _DETOUR.sub("", text)).split())
    return meaning(f"etcd at {endpoint}: {reason}{': ' if way_out else ''}{way_out}")


def is_gone(error: grpc.aio.AioRpcError) -> bool:
    """The endpoint does not answer, or not in time: another may."""
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def is_stale(error: grpc.aio.AioRpcError) -> bool:
    """etcd does not take the token (any more), and has done nothing."""
    return any(text in (error.details() or "") for text in _STALE)


def is_not_enabled(error: grpc.aio.AioRpcError) -> bool:
    return "authentication is not enabled" in (error.details() or "")


def is_granted(error: WeftError) -> bool:
    return "lease already exists" in str(error)
