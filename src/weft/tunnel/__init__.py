"""The pump of driver udp: packets of a TUN device in UDP, one in each datagram, and back (docs/adr/0036-udp-pump.md)."""
