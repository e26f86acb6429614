"""Whether members of services take connections: found out by their own hosts."""
