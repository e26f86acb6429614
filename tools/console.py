"""How the site shows what a user types and sees (blocks of language `console`): `$ ` and `node-1# ` are prompts.

A format for pymdownx.superfences; mkdocs.yml names it.
"""

from __future__ import annotations

import re
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.shell import BashSessionLexer


class Session(BashSessionLexer):  # type: ignore[misc]  # Pygments has no types
    """Docs say in front of each command on which host it is typed, and in which container (docs/contributing.md)."""

    _ps1rgx = re.compile(r"^(\$ |[a-z][a-z0-9-]*(?:/[\w.-]+)?# )(.*\n?)")


def show(source: str, *_: Any, **__: Any) -> str:
    """HTML as Material has it for other languages, so that it looks alike and has the button that copies."""
    made: str = highlight(source, Session(), HtmlFormatter(cssclass="highlight", wrapcode=True))
    return made
