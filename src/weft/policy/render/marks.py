"""What both renderers know: what of a connection's mark is Weft's, and what is never asked."""

CUT = 0x0010_0000
"""The connection was open when a policy came that forbids it: its packets pass no more. Other bits are others'."""

NEIGHBOURS = ("nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-redirect")
"""ICMPv6 types without which IPv6 does not work."""
