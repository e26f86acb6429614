"""Adapters to the Linux kernel: netlink, nft, iptables, sysctl, namespaces. Only here is I/O with the kernel."""
