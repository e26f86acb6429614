"""What everything that talks to the kernel uses: netlink, network namespaces, tools."""
