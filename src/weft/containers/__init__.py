"""Containers of other programs on this host: how they are found."""
