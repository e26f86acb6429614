"""How long an example takes says something about the machine's other work, and nothing about a property."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("weft", deadline=None)
settings.load_profile("weft")
