"""Containers come, go and move: their records in the store, and what is done when these and the host disagree."""
