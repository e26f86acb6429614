"""How often, how long, how many: the numbers of SWIM (Das, Gupta, Motivala 2002) and of Lifeguard (Dadgar, Phillips,
Currey 2018). The values are those that hashicorp/memberlist has for a local network. All times are seconds."""

from __future__ import annotations

import math
import random

PROBE = 1.0
"""From one probe to the next: each round, one other member is asked for a sign of life."""
TIMEOUT = 0.5
"""For an answer, before others are asked to try (and this host itself by TCP)."""
RELAYS = 3
"""Members that are asked to try."""
NACK = 0.8
"""Of a timeout: a relay that has no answer by then says so, which tells that at least the relay is reached."""
GOSSIP = 0.2
"""From one telling of news to the next, while there are any."""
FANOUT = 3
EXCHANGE = 30.0
"""From one exchange of everything that is known with some member to the next."""
CROWDED = 64, 2.0
"""With so much news at once, which is many times what goes into a datagram, everything is exchanged every so many seconds."""
RECONNECT = 5.0
"""From one try to reach a member that counts as dead to the next."""
KEPT = {"dead": 24 * 3600.0, "left": 3600.0}
"""How long a member that is no more is still known. A dead one is tried again all the time."""
LATE = 0.5
"""Who looks at its timers so late has slept itself, and accuses nobody for what it missed."""

_SUSPICION = 4
_LONGEST = 6
_CONFIRMATIONS = 2
_RETRANSMIT = 4
_LARGE = 32


def scale(members: int) -> int:
    """What many members do, each does less often."""
    return 1 + math.ceil(math.log2(members / _LARGE)) if members > _LARGE else 1


def retransmits(members: int) -> int:
    """How often one member tells on what it has heard."""
    return _RETRANSMIT * math.ceil(math.log10(members + 1))


def suspicion(members: int) -> tuple[float, float, int]:
    """How long a suspicion lasts at least, at most, and how many confirmations make the longest one the shortest. Where
    there are not so many others who could confirm, none are waited for."""
    least = _SUSPICION * max(1.0, math.log10(max(1, members))) * PROBE
    wanted = _CONFIRMATIONS if members - 2 >= _CONFIRMATIONS else 0
    return least, least * _LONGEST if wanted else least, wanted


def jittered(period: float, chance: random.Random) -> float:
    """Within a tenth of it, so that hosts that started together do not go on together."""
    return period * (0.9 + 0.2 * chance.random())
