"""A page for each command, out of the very tree of commands that `weft` runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from tools.reference.markdown import block, code, join, page, paragraphs, table, text
from weft.cli.app import NESTED, VERBS, load, root


def pages() -> dict[str, str]:
    return {"commands/index.md": _index(), **{f"commands/{verb}.md": _verb(verb) for verb in VERBS}}


def _index() -> str:
    top = root()
    return page(
        "Commands",
        paragraphs(top.help),
        table(("for", "command", ""), list(_verbs())),
        "## Options of `weft` itself",
        _parameters(top, _context(top, "weft")),
        "Each command has `--help`, which says the same as its page here. What a command exits with:"
        " [exit statuses](../errors.md).",
    )


def _verbs() -> Iterator[tuple[str, str, str]]:
    """By what they are for, each with its own first sentence where it shares a line of `weft --help` with another."""
    section = ""
    for verb, about in VERBS.items():
        said = about.summary or load(verb).get_short_help_str(300)
        yield "" if about.section in ("", section) else about.section, f"[`weft {verb}`]({verb}.md)", text(said)
        section = about.section or section


def _verb(verb: str) -> str:
    first, *others = _commands(load(verb), f"weft {verb}")
    others += [(f"weft {' '.join(words)}", _nested(module)) for words, module in NESTED.items() if words[0] == verb]
    return page(
        code(f"weft {verb}"), _command(*first), *(join(f"## `{name}`", _command(name, c)) for name, c in others)
    )


def _nested(module: str) -> Any:
    app: typer.Typer = import_module(module).app
    app.rich_markup_mode = None
    return typer.main.get_command(app)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The command, and those below it that are not hidden."""
    yield name, command
    for word, inner in _below(command):
        yield from _commands(inner, f"{name} {word}")


def _below(command: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(command, TyperGroup):
        yield from ((word, inner) for word, inner in command.commands.items() if not inner.hidden)


def _command(name: str, command: Any) -> str:
    ctx = _context(command, name)
    usage = "" if isinstance(command, TyperGroup) else " ".join([name, *command.collect_usage_pieces(ctx)])
    return join(
        _help(command.help),
        table(("command", ""), [_line(name, word, inner) for word, inner in _below(command)]),
        block(usage) if usage else "",
        _parameters(command, ctx),
        _example(command.epilog),
    )


def _line(name: str, word: str, command: Any) -> tuple[str, str]:
    full = f"{name} {word}"
    return f"[`{full}`](#{full.replace(' ', '-')})", text(command.get_short_help_str(300))


def _context(command: Any, name: str) -> Any:
    """In which a command tells its help, as if it had been called."""
    return command.make_context(name, [], resilient_parsing=True)


def _parameters(command: Any, ctx: Any) -> str:
    """Arguments and options as `--help` lists them, but for itself."""
    records = [parameter.get_help_record(ctx) for parameter in command.get_params(ctx)]
    rows = [(code(found[0]), text(found[1])) for found in records if found and "--help" not in found[0]]
    return table(("argument or option", ""), rows)


def _help(said: str | None) -> str:
    """`\\b` in front of a paragraph keeps its lines."""
    parts = (said or "").replace("\f", "").split("\n\n")
    return join(*(block(part[2:]) if part.startswith("\b\n") else paragraphs(part) for part in parts))


def _example(epilog: str | None) -> str:
    lines = [line.strip() for line in (epilog or "").replace("\b", "").splitlines()]
    kept = [line for line in lines if line and not line.startswith("Example")]
    return block("\n".join(kept)) if kept else ""
