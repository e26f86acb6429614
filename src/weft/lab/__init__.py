"""Many hosts on one machine, out of namespaces: for trying Weft, for its tests and benchmarks. See docs/lab.md.

Nothing imports this package but its front end, tests and benchmarks.
"""

from weft.lab.host import Container, Host
from weft.lab.lab import DEFAULT, Lab, agent_command, take_down
from weft.lab.topology import Place, Topology, flat, load, reference

__all__ = [
    "DEFAULT",
    "Container",
    "Host",
    "Lab",
    "Place",
    "Topology",
    "agent_command",
    "flat",
    "load",
    "reference",
    "take_down",
]
