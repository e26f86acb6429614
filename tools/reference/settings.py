"""The agent's settings, as they are declared in `weft.agent.config`."""

from __future__ import annotations

from tools.reference.markdown import block, code, page, paragraphs, table, text
from weft.agent.config import DEFAULT_FILE, SETTINGS
from weft.agent.settings import Setting, in_toml

_WORDS = (
    f"The agent reads `{DEFAULT_FILE}` when it starts; a flag of [`weft agent run`](commands/agent.md) goes before the file."
    " Each setting may be left out. *Reload*: a change is taken over by `systemctl reload weft-agent`; others need a restart,"
    " which interrupts no connection of containers. Durations are in seconds."
)


def pages() -> dict[str, str]:
    parts, group = [_WORDS], list[Setting]()
    for setting in SETTINGS:
        if setting.said.begins:
            parts += [_table(group), f"## {setting.said.begins}"]
            group = []
        group.append(setting)
    example = "\n".join(f"{setting.name} = {setting.shown}" for setting in SETTINGS if setting.name in _EXAMPLE)
    return {
        "settings.md": page(
            "Settings",
            *parts,
            _table(group),
            "## Example",
            "A host of a cluster whose store is an etcd:",
            block(example, "toml"),
        )
    }


_EXAMPLE = ("iface", "store-ca", "store-password-file", "metrics")


def _table(settings: list[Setting]) -> str:
    rows = [
        (code(s.name), paragraphs(s.said.text), _unset(s), code(s.shown), "yes" if s.said.live else "")
        for s in settings
    ]
    return table(("setting", "", "when left out", "for example", "reload"), rows)


def _unset(setting: Setting) -> str:
    return text(setting.said.unset) if setting.said.unset else code(in_toml(setting.default))
