"""Exit statuses, and the words by which programs know errors."""

from __future__ import annotations

from tools.reference.markdown import block, code, page, table
from weft.base.errors import ERRORS, NotFound, WeftError
from weft.cli import INTERRUPTED

_MEANINGS = {
    "invalid": "the request itself is wrong; nothing was changed",
    "not-found": "there is no such node, network, container …",
    "conflict": "it clashes with something that exists: a name, an address, a device of somebody else's",
    "exhausted": "no address or subnet is left",
    "unsupported": "this kernel or this host cannot do it",
    "denied": "a privilege is missing",
    "unavailable": "the store or the agent cannot be reached now; trying again may help",
    "failed": "the kernel refused; nothing is left half-done",
}


def pages() -> dict[str, str]:
    statuses = (
        ("0", "done"),
        (str(WeftError.exit_status), "it failed; one line on standard error says what, where, and what to do about it"),
        ("2", "wrong usage: an unknown command or option, a value that is none"),
        (str(NotFound.exit_status), "what was named does not exist"),
        (str(INTERRUPTED), "interrupted (Ctrl-C)"),
    )
    words = [
        (code(word), str(error.status), str(error.exit_status), _MEANINGS[word])
        for word, error in sorted(ERRORS.items())
    ]
    return {
        "errors.md": page(
            "Exit statuses and errors",
            "Of every command:",
            table(("status", ""), [(code(number), said) for number, said in statuses]),
            "Some commands say more, in their help: `weft trace` ends with 1 if the packet does not arrive and with 3 if that"
            " is not known; `weft status --check` and `weft check` with 1 if something is amiss.",
            "## Errors of the API",
            "A reply that is not 200 is JSON: the word stays the same for good, the message is for people.",
            block('{"error": "not-found", "message": "there is no network \'blue\'"}', "json"),
            table(("`error`", "HTTP status", "exit status of `weft`", ""), words),
        )
    }
