"""Weft's commands as people are told of them, against the command line itself: each command and each option has to be there."""

from __future__ import annotations

import re
import shlex
from typing import Any

from weft.cli.app import NESTED, VERBS, load, root

INLINE = re.compile(r"`+(weft [^`]+)`+")
_CHOICE = re.compile(r"^[a-z]+(?:\|[a-z]+)+$")


def unknown(text: str) -> str:
    """The first word of a command line that there is not; "" where all is well. `…`, `[…]` and `A|B` are read as in usages."""
    words = _words(text)[1:]
    everywhere = _options(root()) | {"--help": None, "-h": None}
    while words and words[0].startswith("-"):
        name = words[0].partition("=")[0]
        if name not in everywhere:
            return name
        alone = "=" in words[0] or getattr(everywhere[name], "is_flag", True)
        words = words[1:] if alone else words[2:]
    if not words:
        return ""
    verb, *rest = words
    return next((found for each in verb.split("|") if (found := _unknown_of(each, rest))), "")


def _unknown_of(verb: str, words: list[str]) -> str:
    if verb not in VERBS:
        return "" if verb.isupper() else verb
    if (module := NESTED.get((verb, words[0] if words else ""))) is not None:
        return _unknown_option(_nested(module), words[1:])
    return _unknown_in(load(verb), words)


def _nested(module: str) -> Any:
    import importlib

    import typer

    return typer.main.get_command(importlib.import_module(module).app)


def _unknown_in(command: Any, words: list[str]) -> str:
    """`words`: what follows the command, which may have commands of its own."""
    if not hasattr(command, "commands") or not words or words[0].isupper():
        return _unknown_option(command, words)
    names = words[0].split("|") if _CHOICE.match(words[0]) else [words[0]]
    if names[0].startswith("-"):
        return _unknown_option(command, words)
    for name in names:
        if name not in command.commands:
            return name
        if found := _unknown_in(command.commands[name], words[1:]):
            return found
    return ""


def _unknown_option(command: Any, words: list[str]) -> str:
    options = _options(command) | {"--help": None, "-h": None}
    for at, word in enumerate(words):
        if word == "--":
            return unknown(" ".join(words[at + 1 :])) if words[at + 1 : at + 2] == ["weft"] else ""
        for each in word.split("|"):
            name, _, value = each.partition("=")
            if not name.startswith("-") or not name.strip("-") or name[1:].isdigit():
                continue
            if name not in options:
                return name
            value = value or (words[at + 1] if at + 1 < len(words) else "")
            choices = getattr(getattr(options[name], "type", None), "choices", ())
            if choices and not value.isupper() and not set(value.split("|")) <= {str(c) for c in choices}:
                return value or name
    return ""


def _options(command: Any) -> dict[str, Any]:
    """Its options by all of their names."""
    return {name: each for each in command.params for name in (*each.opts, *each.secondary_opts)}


def _words(text: str) -> list[str]:
    """Of one command: up to a comment, a pipe or what else ends it in a shell."""
    plain = re.sub(r"[\[\]]|…|\.\.\.|\\\n", " ", text)
    try:
        words = shlex.split(plain, comments=True)
    except ValueError:
        words = plain.split()
    end = next(
        (i for i, word in enumerate(words) if word in ("|", "&&", "||", ";", ">", ">>", "<", "&", "2>&1")), len(words)
    )
    return [word.rstrip(";,") for word in words[:end]]


def commands_in(line: str) -> list[str]:
    """Each `weft …` of a shell's line, also behind `sudo`, in pipes and behind `&&`."""
    return [
        part.strip().removeprefix("sudo ")
        for part in re.split(r"[|;&]+ |\$\(", line)
        if re.match(r"\s*(sudo )?weft ", part)
    ]
