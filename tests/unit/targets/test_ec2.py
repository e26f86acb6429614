"""What follows from EC2's answers, and calls that nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from weft.base.errors import Conflict, Denied, Exhausted, Failed, NotFound, Throttled, Unavailable, WeftError
from weft.targets.ec2 import FIRST_PAUSE, LONGEST_PAUSE, Ec2, Would, action_of, in_thread


@pytest.mark.parametrize(
    ("operation", "code", "kind"),
    [
        ("create_route", "RouteAlreadyExists", Conflict),
        ("create_route", "RouteLimitExceeded", Exhausted),
        ("create_route", "InvalidRouteTableID.NotFound", Failed),
        ("create_route", "InvalidNetworkInterfaceID.NotFound", Failed),
        ("create_route", "InvalidParameterValue", Failed),
        ("replace_route", "InvalidParameterValue", Conflict),
        ("delete_route", "InvalidRoute.NotFound", NotFound),
        ("create_route", "UnauthorizedOperation", Denied),
        ("create_route", "DryRunOperation", Would),
        ("create_route", "RequestLimitExceeded", Throttled),
        ("create_route", "ExpiredToken", Unavailable),
        ("create_route", "RequestExpired", Unavailable),
        ("create_route", "InternalError", Unavailable),
        ("create_route", "Surprise", Failed),
    ],
)
def test_what_follows_from_an_error(operation: str, code: str, kind: type[WeftError]) -> None:
    found = Ec2()._said(operation, {"Code": code, "Message": "it says so\nand more"})
    assert type(found) is kind
    assert "\n" not in str(found)


def test_pauses_grow_and_differ() -> None:
    ec2 = Ec2()
    seen = []
    for times in range(8):
        ec2._throttled = times
        error = ec2._said("create_route", {"Code": "Throttling"})
        assert isinstance(error, Throttled)
        seen.append(error.seconds)
    assert FIRST_PAUSE / 2 <= seen[0] <= FIRST_PAUSE
    assert all(LONGEST_PAUSE / 2 <= pause <= LONGEST_PAUSE for pause in seen[4:])
    assert len(set(seen)) == len(seen)


def test_actions_are_called_as_policies_name_them() -> None:
    assert action_of("modify_network_interface_attribute") == "ec2:ModifyNetworkInterfaceAttribute"


async def test_a_call_that_blocks_is_left_to_itself() -> None:
    free = threading.Event()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await in_thread(lambda: free.wait(10))
    assert time.monotonic() - began < 5
    free.set()
    assert await in_thread(lambda: 7) == 7


async def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)
