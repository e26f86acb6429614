"""The chaos run: random operations on a lab while what it consists of is killed, stopped, cut off and flushed.

`./dev chaos` runs it; docs/chaos.md says what it does and what it checks. It drives the shipped product from outside and
is not part of it.
"""
