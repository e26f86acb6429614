"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from weft.cli import complete
from weft.cli.groups import Group

NetworkName = Annotated[str, typer.Argument(metavar="NETWORK", help="Its name.", autocompletion=complete.networks)]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="Its name.", autocompletion=complete.nodes)]
EndpointRef = Annotated[
    str, typer.Argument(metavar="ENDPOINT", help="Its name, id or address.", autocompletion=complete.endpoints)
]
NetworkNames = Annotated[
    list[str], typer.Argument(metavar="NETWORK...", help="Their names.", autocompletion=complete.networks)
]
NodeNames = Annotated[list[str], typer.Argument(metavar="NODE...", help="Their names.", autocompletion=complete.nodes)]
EndpointRefs = Annotated[
    list[str],
    typer.Argument(metavar="ENDPOINT...", help="Their names, ids or addresses.", autocompletion=complete.endpoints),
]
OfNetwork = Annotated[
    str, typer.Option("--network", "-n", metavar="NETWORK", help="Only of this one.", autocompletion=complete.networks)
]
OfNode = Annotated[str, typer.Option("--node", metavar="NODE", help="Only of this one.", autocompletion=complete.nodes)]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; may be given several times.")
]

NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Be done once it is stored, not once every host enforces its policies.")
]
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def example(*lines: str) -> str:
    """The end of a help page. `\\b` keeps the lines as they are."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


def group(help: str, *examples: str) -> typer.Typer:
    """An app of several commands. Help is plain text: no boxes, and quick."""
    return typer.Typer(
        cls=Group,
        help=help,
        epilog=example(*examples),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings=HELP,
    )


def single() -> typer.Typer:
    """An app of one command."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=HELP)


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """KEY=VALUE texts. Raises BadParameter (wrong usage)."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"'{text}' is not KEY=VALUE", param_hint=f"'{option}'")
        if key in found:
            raise typer.BadParameter(f"{key} is given twice", param_hint=f"'{option}'")
        found[key] = value
    return found


def set_or_gone(texts: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is to be set, and the names of what is to go, which were given as `NAME-`."""
    gone = tuple(text for text in texts or () if "=" not in text and text.endswith("-"))
    return tuple(text for text in texts or () if text not in gone), tuple(text[:-1] for text in gone)


def given(**settings: Any) -> dict[str, object]:
    """Those that were set."""
    return {name: value for name, value in settings.items() if value is not None}
