"""Desired against actual: an ordered plan, its rendering as commands, and the loop's state (failures, retries)."""
