"""Wrong usage in one line: what, the value, the way out. Loaded only where something is wrong."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import typer
from typer._click import exceptions as wrong  # not exported; the version is bounded in pyproject.toml

from weft.cli.app import root
from weft.cli.groups import NoSuchCommand, below
from weft.cli.meant import option_meant

ClickException, NoArgsIsHelp, Abort = wrong.ClickException, wrong.NoArgsIsHelpError, typer.Abort

_SAID = (
    (r"(.+) is not in the range (.+)<=x<=(.+)", r"\1 is outside \2 to \3"),
    (r"(.+) is not in the range x>=(.+)", r"\1 is less than \2"),
    (r"(.+) is not in the range x<=(.+)", r"\1 is more than \2"),
    (r"(.+) is not a valid (?:int|integer|int range)", r"\1 is not a whole number"),
    (r"(.+) is not a valid (?:float|float range)", r"\1 is not a number"),
    (r"(.+) is not one of (.+)", r"\1 is none of \2"),
)


def line(error: wrong.ClickException, argv: Sequence[str]) -> str:
    """`argv`: as typed, without `weft`."""
    ctx = getattr(error, "ctx", None)
    command = ctx.command_path if ctx is not None else _command(argv)
    if isinstance(error, NoSuchCommand):
        return error.message + (f": did you mean `weft {error.near}`?" if error.near else f"; see `{command} --help`")
    what = _what(error, ctx, argv)
    name = "" if command == "weft" and what.startswith(": ") else command.removeprefix("weft ")
    told = f"{name}{what}".removeprefix(": ")
    return told if told.endswith("?") else f"{told}; see `{command} --help`"


def _command(argv: Sequence[str]) -> str:
    """Some errors do not say of which command they are."""
    words: list[str] = []
    for word in argv:
        if word not in below(root(), words):
            break
        words.append(word)
    return " ".join(["weft", *words])


def _what(error: Any, ctx: Any, argv: Sequence[str]) -> str:
    match error:
        case wrong.MissingParameter(param=param) if param is not None:
            return f" needs {_named(param)}{_example(ctx, param)}"
        case wrong.NoSuchOption(option_name=option):
            return f" has no option {option}{_near(option, ctx, argv)}"
        case wrong.BadOptionUsage(option_name=option):
            takes = "does not take" in error.message
            return f": {option} takes no value" if takes else f": {option} needs a value"
        case wrong.BadParameter():
            where = _where(error)
            return f": {where}{': ' if where else ''}{_plain(error.message)}"
    if found := re.fullmatch(r"Got unexpected extra argument\(s\) \((.*)\)", error.message):
        return f": '{found[1]}' is more than it takes"
    return f": {error.message.rstrip('.')}"


def _named(param: Any) -> str:
    """`--driver DRIVER`, `NETWORK`."""
    metavar = param.metavar or str(param.name).upper()
    if param.param_type_name == "argument":
        return str(metavar).removesuffix("...")
    return f"{max(param.opts, key=len)} {metavar}"


def _example(ctx: Any, param: Any) -> str:
    """One of the command's own examples, with that option if there is one."""
    lines = [text.strip() for text in (ctx.command.epilog or "").splitlines()]
    examples = [text for text in lines if text.startswith(f"{ctx.command_path} ")]
    fit = [text for text in examples if param.param_type_name == "argument" or {*param.opts} & {*text.split()}]
    return f", as in `{fit[0]}`" if fit else ""


def _near(option: str, ctx: Any, argv: Sequence[str]) -> str:
    known = [name for param in ctx.command.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
    found = option_meant(option, known)
    if not found:
        return ""
    typed = [found + word[len(option) :] if word.split("=")[0] == option else word for word in argv]
    return f": did you mean `weft {shlex.join(typed)}`?" if typed != list(argv) else f": did you mean {found}?"


def _where(error: wrong.BadParameter) -> str:
    if error.param_hint is not None:
        hint = error.param_hint if isinstance(error.param_hint, str) else " / ".join(error.param_hint)
        return hint.replace("'", "")
    if error.param is None:
        return ""
    opts = [opt for opt in error.param.opts if opt.startswith("-")]
    return max(opts, key=len) if opts else str(error.param.human_readable_name)


def _plain(message: str) -> str:
    message = message.rstrip(".")
    for pattern, said in _SAID:
        if found := re.fullmatch(pattern, message):
            return found.expand(said)
    return message
