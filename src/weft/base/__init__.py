"""Errors, addresses and names: what every other package stands on. No I/O."""
