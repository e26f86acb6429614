"""Who gets which subnet and which address: pure functions over what is taken already. The store settles races.

subnets     which subnet of a network a node gets
addresses   which address of its node's subnet a container gets
leases      a node's lease of a network; whether a new network has room beside what exists
"""
