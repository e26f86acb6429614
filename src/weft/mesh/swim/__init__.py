"""Membership by SWIM and Lifeguard: hosts tell each other who is there, and ask each other in turn whether they live."""

from weft.mesh.swim.runner import Swim

__all__ = ["Swim"]
