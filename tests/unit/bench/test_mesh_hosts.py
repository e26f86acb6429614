"""What the benchmark of a mesh makes of processes and of agents that are not there yet."""

from __future__ import annotations

import time

import pytest

from bench.mesh_hosts import AGENT, ETCD, PUMP, program, until
from weft.base.errors import Failed, Unavailable


@pytest.mark.parametrize(
    ("line", "whose"),
    [
        ("/usr/bin/etcd --name=node-1", ETCD),
        ("/usr/bin/python3 -m weft.tunnel /run/weft/tunnel", PUMP),
        ("/usr/bin/python3 -m weft agent run --node node-1", AGENT),
        ("/usr/bin/python3 -m weft agent status", ""),
        ("ip monitor route", ""),
        ("", ""),
    ],
)
def test_programs_are_known_by_their_command_lines(line: str, whose: str) -> None:
    assert program(line.split(" ")) == whose


def test_an_agent_that_refuses_is_asked_again() -> None:
    answers = iter([Unavailable("no agent"), False, True])

    def asked() -> bool:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return bool(answer)

    began = time.monotonic()
    assert until(asked, "an answer") >= began
    assert list(answers) == []


def test_what_does_not_come_is_named_with_the_last_refusal() -> None:
    def asked() -> bool:
        raise Unavailable("no agent")

    with pytest.raises(Failed, match="waited 0 s for an answer: no agent"):
        until(asked, "an answer", 0.05)
