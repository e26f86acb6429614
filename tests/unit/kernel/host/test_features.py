"""What the kernel can do, where the program that asks it does not work."""

from __future__ import annotations

import pytest

from weft.base.errors import Failed, Unsupported
from weft.kernel.host.facts import FEATURES
from weft.kernel.plumbing import tools
from weft.kernel.plumbing.netlink import Netlink
from weft.kernel.plumbing.tools import Output


@pytest.fixture
def netlink() -> Netlink:
    return Netlink.__new__(Netlink)  # not asked


def answers(monkeypatch: pytest.MonkeyPatch, answer: Output | Exception) -> None:
    def run(*_: object) -> Output:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(tools, "run", run)


@pytest.mark.parametrize(
    "answer",
    [
        Unsupported("nft is not installed: install nftables"),
        Failed("nft has not finished in 30 s"),
        Output(1, "", "Error: Could not process rule: Operation not permitted\n"),
        Output(127, "", "nft: error while loading shared libraries: libnftables.so.1: No such file or directory\n"),
    ],
)
def test_bridge_rules_stay_wanted_while_nft_does_not_work(
    monkeypatch: pytest.MonkeyPatch, netlink: Netlink, answer: Output | Exception
) -> None:
    """Else an agent that starts meanwhile takes the rules of bridges for impossible, and removes those that are there."""
    answers(monkeypatch, answer)
    assert FEATURES["nft-bridge"](netlink) and FEATURES["flowtable"](netlink)


@pytest.mark.parametrize(
    "reason", ["Operation not supported", "Address family not supported by protocol", "No such file or directory"]
)
def test_rules_are_lacking_if_the_kernel_says_so(
    monkeypatch: pytest.MonkeyPatch, netlink: Netlink, reason: str
) -> None:
    answers(monkeypatch, Output(1, "", f"Error: Could not process rule: {reason}\n"))
    assert not FEATURES["nft-bridge"](netlink) and not FEATURES["flowtable"](netlink)
