"""What can go wrong, as a user sees it.

    WeftError                 one line: what, where, what to do about it
    ├── Invalid               the request itself is wrong; nothing was changed
    ├── NotFound              no such node, network, endpoint, namespace
    ├── Conflict              it clashes with something that exists (name, address, VNI, foreign device)
    ├── Exhausted             no address or subnet is left
    ├── Unsupported           the kernel or the host lacks a feature
    ├── Denied                missing privilege
    ├── Unavailable           the store or the agent cannot be reached now; trying again may help
    │   └── Throttled         a cloud wants no calls for some seconds
    └── Failed                the kernel refused; nothing is left half-done

Each class has a `code` (stable, used in the API's JSON), an HTTP `status` and a process `exit_status`.
"""

from __future__ import annotations

from typing import ClassVar


class WeftError(Exception):
    """Base of all errors that are shown to users. `str(error)` is one line without a traceback."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __str__(self) -> str:
        """Errors quote what users and other programs said, so nothing in there may reach a terminal or a log as it is."""
        return one_line(" ".join(super().__str__().split("\n")))


class Invalid(WeftError):
    code = "invalid"
    status = 400


class NotFound(WeftError):
    code = "not-found"
    status = 404
    exit_status = 4


class Conflict(WeftError):
    code = "conflict"
    status = 409


class Exhausted(WeftError):
    code = "exhausted"
    status = 409


class Unsupported(WeftError):
    code = "unsupported"
    status = 422


class Denied(WeftError):
    code = "denied"
    status = 403


class Unavailable(WeftError):
    code = "unavailable"
    status = 503


class Overtaken(Unavailable):
    """What it was decided by has changed meanwhile: whoever decides again may well succeed."""


class Throttled(Unavailable):
    """`seconds`: for how long it wants no calls (HTTP's Retry-After, RFC 9110 section 10.2.3)."""

    def __init__(self, message: str, seconds: float = 1.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class Failed(WeftError):
    code = "failed"
    status = 500


ERRORS: dict[str, type[WeftError]] = {
    cls.code: cls for cls in (Invalid, NotFound, Conflict, Exhausted, Unsupported, Denied, Unavailable, Failed)
}
"""By `code`, so that a client raises the same class the agent raised."""


def one_line(text: str) -> str:
    """As it is, but for what no terminal shows, which may come from whoever asks: that is escaped as in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
