"""Follow a packet over dumps of kernel state, hop by hop, and name what stops it. See docs/trace.md."""

from weft.trace.path import ECHO, Flow, Hop, Outcome, Path, Place, Start
from weft.trace.walk import walk

__all__ = ["ECHO", "Flow", "Hop", "Outcome", "Path", "Place", "Start", "walk"]
