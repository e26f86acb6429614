"""The pump: packets of a TUN device (docs/adr/0036-udp-pump.md), or frames of TAP devices (docs/adr/0049-sleeve.md), in UDP,
one in each datagram, and back."""
