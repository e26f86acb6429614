"""The first page of the reference."""

from __future__ import annotations

from tools.reference.markdown import page, table

_PAGES = (
    ("commands/index.md", "Commands", "every command with its arguments and options, as `--help` says it"),
    ("drivers.md", "Drivers", "what each data path is, and its options"),
    ("settings.md", "Settings", "what can be in `/etc/weft/weft.toml`"),
    ("api/index.md", "API", "HTTP and JSON on the agent's socket; what stays as it is"),
    ("metrics.md", "Metrics", "what Prometheus is told"),
    ("events.md", "Events of the log", "under names that stay"),
    ("errors.md", "Exit statuses and errors", "what scripts can rely on"),
    ("ports.md", "Ports", "what a firewall between the hosts has to let through"),
    ("variables.md", "Environment variables", ""),
    ("files.md", "Files", "where things are on a host"),
)


def pages() -> dict[str, str]:
    rows = [(f"[{title}]({path})", text) for path, title, text in _PAGES]
    return {
        "index.md": page(
            "Reference", "Made from the code, so that it says what this version does.", table(("", ""), rows)
        )
    }
