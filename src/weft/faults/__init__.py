"""Kinds of faults: their symptom, their evidence, what mends them; and how each is found in dumped state. Pure."""
