"""Events of the log under stable names, as `weft.base.events` declares them."""

from __future__ import annotations

from tools.reference.markdown import block, code, page, table, text
from weft.base.events import EVENTS


def pages() -> dict[str, str]:
    return {
        "events.md": page(
            "Events of the log",
            "The agent's log tells of these under names that stay. What else it says may change its words.",
            block(
                "2026-11-30T05:12:44.120Z warning agent.agent: [store-lost] store lost, the data plane stays as it is: …\n"
                '{"time": 1764479564.12, "level": "warning", "area": "agent.agent", "message": "store lost, …", '
                '"event": "store-lost"}',
                "text",
            ),
            "The second form is that of the setting [`log-format`](settings.md) `json`.",
            table(("event", ""), [(code(name), text(meaning)) for name, meaning in EVENTS.items()]),
        )
    }
