"""Which way packets go between each two hosts, found by probes: in the kernel's tunnel, by a program, or by a third host
(docs/paths.md). All but `prober` is pure."""
