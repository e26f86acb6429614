"""What packet filters make of a packet: nftables, both back ends of iptables, as they were dumped. Pure: the rules are run on
the packet's octets as the kernel runs them."""
