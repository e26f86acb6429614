"""Whether all is well, and why not."""

from __future__ import annotations

import msgspec
import pytest

from support.canned import ILL, WELL
from weft.agent.resources.verdict import judged
from weft.api import types as t

ALL_ALIVE = msgspec.structs.replace(WELL, peers=WELL.peers[:1])
LOST = msgspec.structs.replace(WELL.store, state="lost", reason="connection refused")


def test_all_is_well() -> None:
    found = judged(ALL_ALIVE)
    assert (found.state, found.healthy, found.reasons) == ("converged", True, ())
    foreign = msgspec.structs.replace(WELL.peers[1], foreign="flannel")
    assert judged(msgspec.structs.replace(WELL, peers=(foreign,))).healthy, "it runs no agent that could be silent"


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({"state": "converging"}, "converging", "changes are on their way to the kernel"),
        ({"state": "starting"}, "starting", "the agent is still starting"),
        ({"store": LOST}, "degraded", "the store is lost: connection refused"),
        ({"troubles": ILL.troubles}, "degraded", "1 object failed and will be tried again: route 40.15.65.0/24"),
        (
            {"problems": (t.Problem(network="", peer="", text="networks/x in the store cannot be read"),)},
            "converged",
            "1 problem: networks/x in the store cannot be read",
        ),
        ({"peers": WELL.peers}, "converged", "node-4 is silent"),
        (
            {"peers": (msgspec.structs.replace(WELL.peers[1], withdrawn=True, evidence="nothing answers"),)},
            "converged",
            "node-4 is dead: nothing answers",
        ),
        ({"bgp": t.BgpStatus(sessions=3, established=1, reason="BIRD is down")}, "converged", "BGP: BIRD is down"),
        ({"bgp": t.BgpStatus(sessions=3, established=2)}, "converged", "2 of 3 BGP sessions up"),
    ],
)
def test_what_is_amiss(change: dict[str, object], state: str, reason: str) -> None:
    found = judged(msgspec.structs.replace(ALL_ALIVE, **change))
    assert (found.state, found.healthy) == (state, False)
    assert len(found.reasons) == 1 and found.reasons[0].startswith(reason)


def test_what_only_the_agent_knows() -> None:
    waits = judged(ALL_ALIVE, waiting_for="no uplink: eth0 is down")
    assert (waits.state, waits.reasons) == ("degraded", ("no uplink: eth0 is down",))
    assert judged(ALL_ALIVE, silent=True).reasons == ("the store does not answer",)
    assert judged(msgspec.structs.replace(ALL_ALIVE, store=LOST), silent=True).reasons == (
        "the store is lost: connection refused",
    )


def test_the_worst_comes_first() -> None:
    ill = judged(msgspec.structs.replace(ILL, healthy=True, reasons=()))
    assert [reason.split(":")[0] for reason in ill.reasons] == [
        "the store is lost",
        "1 object failed and will be tried again",
        "1 problem",
        "node-4 is silent",
    ]
