"""Commands that have commands, with an answer to one that there is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer._click.exceptions import UsageError  # not exported; the version is bounded in pyproject.toml
from typer.core import TyperGroup


class NoSuchCommand(UsageError):
    """`near`: what may have been meant, without `weft`; "" where nothing is near."""

    def __init__(self, typed: str, near: str, ctx: Any) -> None:
        super().__init__(f"there is no command `{typed}`", ctx)
        self.near = near


class Group(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args[0] in self.commands or args[0].startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from weft.cli.meant import meant

        path = ctx.command_path.split()[1:]
        root = ctx.find_root().command
        near = meant([*path, *args], lambda way: below(root, way))
        raise NoSuchCommand(" ".join(["weft", *path, args[0]]), near, ctx)


def below(command: Any, way: Sequence[str]) -> list[str]:
    """Names of the commands of a command that is found by its words; none where it has none. Modules are loaded on the way."""
    for word in way:
        command = command.whole(word) if hasattr(command, "whole") else getattr(command, "commands", {}).get(word)
    return [name for name, each in getattr(command, "commands", {}).items() if not each.hidden]
