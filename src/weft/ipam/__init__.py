"""Who gets which address: leases, blocks, addresses, MAC addresses; and whether the store agrees with itself about that."""
