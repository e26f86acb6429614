"""What there is to know of a host, besides the objects that Weft makes."""
