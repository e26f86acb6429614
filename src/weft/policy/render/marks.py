"""What of a connection's mark is Weft's."""

CUT = 0x0010_0000
"""The connection was open when a policy came that forbids it: its packets pass no more. Other bits are others'."""
