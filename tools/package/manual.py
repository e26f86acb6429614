"""Man pages out of the commands' own help: weft(1), and one for each verb, with all that is below it (man(7))."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from tools.package.source import epoch, version
from weft.cli.app import NESTED, VERBS, load, root

FOLDER = Path("usr/share/man/man1")
_AS_TYPED = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"},
)


def lay(root: Path) -> None:
    """Compressed, and the same each time: no name and no time is in them."""
    (root / FOLDER).mkdir(parents=True)
    for name, text in pages().items():
        (root / FOLDER / f"{name}.1.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def pages() -> dict[str, str]:
    """Each page by its name: `weft`, `weft-network`, …"""
    made = {"weft": _main()}
    for verb in VERBS:
        commands = [*_commands(load(verb), f"weft {verb}"), *_nested(verb)]
        parts = [_head(f"weft-{verb}", _summary(verb))]
        for level, (name, command) in enumerate(commands):
            parts += _command(name, command, "" if level == 0 else name)
        made[f"weft-{verb}"] = "\n".join([*parts, _end()])
    return made


def _main() -> str:
    top = root()
    verbs = "\n".join(f".TP\n.BR weft\\-{_escaped(verb)} (1)\n{line(_summary(verb))}" for verb in VERBS)
    head = _head("weft", "networks for containers on several hosts")
    return "\n".join([head, *_command("weft", top, ""), ".SH VERBS", verbs, _end()])


def _summary(verb: str) -> str:
    """Of its own; the list of `weft --help` has one for several, in places."""
    return str(load(verb).get_short_help_str(100)).rstrip(".")


def _head(name: str, summary: str) -> str:
    day = datetime.fromtimestamp(epoch(), UTC).date().isoformat()
    title = f'.TH "{_escaped(name.upper())}" "1" "{day}" "Weft {version()}" "Weft"'
    return f"{title}\n.SH NAME\n{_escaped(name)} \\- {line(summary[:1].lower() + summary[1:])}"


def _end() -> str:
    files = {
        "/etc/weft/weft.toml": "The agent's settings, each explained.",
        "/var/lib/weft": "What this host keeps: the embedded store, its own identity.",
        "/run/weft/weft.sock": "The agent's API. Who may open it rules the networks of this host.",
    }
    status = {"0": "It is done.", "1": "It failed.", "2": "Wrong usage.", "4": "What was asked for is not there."}
    listed = "\n".join(f".TP\n.I {file}\n{line(what)}" for file, what in files.items())
    ends = "\n".join(f".TP\n.B {number}\n{line(what)}" for number, what in status.items())
    return f".SH FILES\n{listed}\n.SH EXIT STATUS\n{ends}\n.SH SEE ALSO\n.BR weft (1)\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The command, and those below it that are not hidden."""
    yield name, command
    if isinstance(command, TyperGroup):
        for word, inner in command.commands.items():
            if not inner.hidden:
                yield from _commands(inner, f"{name} {word}")


def _nested(verb: str) -> Iterator[tuple[str, Any]]:
    for words, module in NESTED.items():
        if words[0] == verb:
            app: typer.Typer = import_module(module).app
            yield f"weft {' '.join(words)}", typer.main.get_command(app)


def _command(name: str, command: Any, title: str) -> list[str]:
    """Its usage, text, options and example. `title`: of its own section, where the page has several commands."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    if title:
        parts = [f'.SH "{_escaped(title.upper())}"', f".B {_escaped(name)}\n{line(usage)}\n.PP"]
    else:
        parts = [f".SH SYNOPSIS\n.B {_escaped(name)}\n{line(usage)}\n.SH DESCRIPTION"]
    parts += [_text(command.help)]
    shown = [p.get_help_record(context) for p in command.get_params(context)]
    parts += [f".TP\n.B {_escaped(record[0])}\n{line(record[1])}" for record in shown if record]
    return [*parts, *_example(command.epilog)]


def _text(help: str | None) -> str:
    """Paragraphs; one that begins with `\\b` keeps its lines."""
    paragraphs = (help or "").replace("\f", "").strip().split("\n\n")
    return "\n.PP\n".join(_kept(p[2:]) if p.startswith("\b\n") else line(" ".join(p.split())) for p in paragraphs)


def _example(epilog: str | None) -> list[str]:
    lines = [line for line in (epilog or "").replace("\b", "").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Example")]
    return [".PP\nExample:", _kept("\n".join(line.removeprefix("  ") for line in lines))] if lines else []


def _kept(text: str) -> str:
    return ".PP\n.nf\n.RS 4\n" + "\n".join(line(each) for each in text.splitlines()) + "\n.RE\n.fi"


def line(text: str) -> str:
    """One line of text, none of which roff takes for a request."""
    text = _escaped(text.strip())
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _escaped(text: str) -> str:
    """Hyphens as typed, so that a command can be copied from the page (groff_char(7))."""
    return text.translate(_AS_TYPED)
