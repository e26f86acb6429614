"""Weft: a container network for several hosts. Compile the network, then converge the kernel."""

__version__ = "0.2.0"
