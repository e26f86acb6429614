"""Services: a name and a virtual address for several containers, and ports of every host that lead to them. Pure."""
