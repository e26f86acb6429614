"""All cases of network policy."""

from __future__ import annotations

from collections.abc import Mapping

from support import policy_cases, policy_corners, policy_own
from support.policy_cases import Case

__all__ = ["Case", "every_case"]


def every_case(addresses: Mapping[str, str]) -> list[Case]:
    """`addresses`: of the pods, of one family."""
    return [case for kind in (policy_cases, policy_corners, policy_own) for case in kind.cases(addresses.__getitem__)]
