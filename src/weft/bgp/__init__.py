"""BGP by BIRD 2, the pure part: who speaks to whom, BIRD's configuration as text, and what its answers say.

What a host announces, and to whom, follows from the model alone (`plan`), and so does its BIRD's configuration
(`config`). Everything announced is a static route in there: BIRD learns nothing from the kernel. What it learns from
others goes to the kernel (`proto bird`), but for what is reached through a tunnel: stock BIRD cannot express those
routes, the data path makes them of the same leases.
"""
