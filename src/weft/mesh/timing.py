"""For how long the voters' keeper waits."""

from __future__ import annotations

import msgspec

from weft.mesh import founding, voting


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `patience`: until a silent voter is replaced. `learning`: until a learner that does not come along goes.
    `grace`: see `weft.mesh.founding`. `look`: between two looks where nothing happens. `gather`: in which what happens comes
    together. `lonely`: after which a voter without a leader asks the others whether it still belongs to them. `settling`: for
    which a host has to say that it has no voter. `handing`: for handing over a vote, and for beginning anew."""

    patience: float = voting.PATIENCE
    learning: float = voting.LEARNING
    grace: float = founding.GRACE
    look: float = 1.0
    gather: float = 0.1
    lonely: float = 5.0
    settling: float = 5.0
    handing: float = 60.0
