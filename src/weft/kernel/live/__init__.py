"""Watching one marked packet on this host: the kernel's tracepoints, the trace of nftables, captures; and sending it.

`watch.Watch` puts the watchers together. They live in file descriptors alone: with the process they end, however that ends.
"""
