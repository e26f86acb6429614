"""What a settings file says of itself: each setting is declared once, with its explanation, in `weft.agent.config.Config`.

    node: Annotated[str, said("This host's name in the cluster.", unset="the host's name", example="node-1")] = ""

From there come the commented file /etc/weft/weft.toml, the reference in the docs, and what a reload may change.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec

WIDTH = 100
"""Characters of a line of comment."""

Value = str | bool | float | Sequence[str] | Mapping[str, str]


class Said(NamedTuple):
    """`unset`: what holds where the setting is left out, if its default does not say it. `example`: a value to show instead
    of such a default. `live`: `systemctl reload` applies a change. `begins`: the heading of the settings from here on."""

    text: str
    unset: str = ""
    example: Value = ""
    live: bool = False
    begins: str = ""


def said(text: str, *, unset: str = "", example: Value = "", live: bool = False, begins: str = "") -> msgspec.Meta:
    """What goes into a field's `Annotated`."""
    return msgspec.Meta(description=text, extra={"said": Said(text, unset, example, live, begins)})


class Setting(NamedTuple):
    """`name` as the file writes it, `field` as the program does."""

    name: str
    field: str
    default: Value
    said: Said

    @property
    def shown(self) -> str:
        """The default, or else an example, in TOML."""
        return in_toml(self.said.example if self.said.example != "" else self.default)

    @property
    def unset(self) -> str:
        """What holds where it is left out, in words or in TOML."""
        return self.said.unset or in_toml(self.default)


def described(config: type[msgspec.Struct]) -> tuple[Setting, ...]:
    """The settings of a struct, in the order in which it declares them. Raises LookupError for one without a `said`."""
    hints = get_type_hints(config, include_extras=True)
    return tuple(
        Setting(field.encode_name, field.name, field.default, _said(hints[field.name]))
        for field in msgspec.structs.fields(config)
    )


def _said(hint: Any) -> Said:
    """Raises LookupError."""
    for meta in get_args(hint)[1:]:
        if isinstance(meta, msgspec.Meta) and meta.extra and "said" in meta.extra:
            found: Said = meta.extra["said"]
            return found
    raise LookupError(f"a setting says nothing of itself: {hint}")


def in_toml(value: Value) -> str:
    """One line. A JSON string is a basic string of TOML's, too (toml.io/en/v1.0.0#string)."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int() | float():
            return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
        case Mapping():
            pairs = (f"{in_toml(key)} = {in_toml(each)}" for key, each in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
    return f"[{', '.join(map(in_toml, value))}]"


def commented(settings: Sequence[Setting], head: str) -> str:
    """A settings file in which everything is commented out. `head`: what it says at its top."""
    return "\n".join([*_comment(head), *(line for each in settings for line in _entry(each))]) + "\n"


def _entry(setting: Setting) -> Iterator[str]:
    if setting.said.begins:
        yield from ("", f"# ---- {setting.said.begins} ----")
    yield ""
    unset = f" Default: {setting.said.unset}." if setting.said.unset else ""
    yield from _comment(setting.said.text + unset)
    yield f"#{setting.name} = {setting.shown}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
