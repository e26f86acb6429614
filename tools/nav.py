"""A hook of MkDocs: in mkdocs.yml's navigation, a folder (`adr/`) stands for all its pages, index.md first."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    docs = Path(config["docs_dir"])
    config["nav"] = [_spread(item, docs) for item in config["nav"]]
    return config


def _spread(item: Any, docs: Path) -> Any:
    """The item with each folder in it replaced by the list of its pages."""
    if isinstance(item, dict):
        return {title: _spread(inner, docs) for title, inner in item.items()}
    if isinstance(item, list):
        return [_spread(inner, docs) for inner in item]
    return pages(docs, item) if item.endswith("/") else item


def pages(docs: Path, folder: str) -> list[str]:
    """Of a folder below `docs`, not of the folders in it."""
    found = sorted(docs.glob(f"{folder}*.md"), key=lambda path: (path.name != "index.md", path.name))
    return [path.relative_to(docs).as_posix() for path in found]
