"""What all commands that list things have in common: which columns, whose rows, in which order, and again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from support.canned import ENDPOINTS, NETWORKS, NODES
from support.canned_agent import Asked, CannedAgent, canned_agent
from support.waiting import until
from weft.api.topology import Topology
from weft.base.errors import Invalid
from weft.cli.columns import Column, Table
from weft.cli.table import UNBOUNDED, Page
from weft.model import encode

LONG = "a-network-with-a-rather-long-name"
THINGS: Table[tuple[str, str]] = Table(
    Column("NAME", lambda thing: thing[0]),
    Column("BY DEFAULT", lambda thing: thing[1], spare=2),
    Column("SIZE", lambda thing: len(thing[1]), spare=1),
    Column("HIDDEN", lambda thing: thing[0] * 2, shown=False),
    name=lambda thing: thing[0],
    labels=lambda thing: {"is": thing[1]},
    none="there is none",
)
ROWS = (("node-10", "x"), ("node-2", ""), ("node-1", "yyy"))


def lines(*, width: int = UNBOUNDED, columns: str = "") -> list[str]:
    return list(THINGS.lines(Page(width, colour=False), ROWS, columns))


class TestTable:
    def test_what_is_empty_is_a_dash(self) -> None:
        assert lines() == [
            "NAME     BY DEFAULT  SIZE",
            "node-10  x           1",
            "node-2   -           0",
            "node-1   yyy         3",
        ]

    def test_columns_are_chosen_by_their_heads(self) -> None:
        assert lines(columns="hidden,By-Default")[0] == "HIDDEN          BY DEFAULT"
        assert lines(columns="+hidden")[0] == "NAME     BY DEFAULT  SIZE  HIDDEN"

    def test_one_that_is_not_there_is_refused_with_the_list(self) -> None:
        with pytest.raises(
            Invalid, match=r"no column 'szie' \(did you mean size\?\): choose of name, by-default, size"
        ):
            THINGS.chosen("name,szie")

    @pytest.mark.parametrize(("by", "first"), [("name", "node-1"), ("-name", "node-10"), ("size", "node-2")])
    def test_numbers_are_ordered_by_their_size(self, by: str, first: str) -> None:
        assert THINGS.ordered(ROWS, by)[0][0] == first

    def test_columns_are_left_out_in_their_order_before_a_word_is_broken(self) -> None:
        rows = [("n" * 30, "d" * 20)]
        assert _heads(rows, 60) == ["NAME", "BY DEFAULT", "SIZE"]
        assert _heads(rows, 53) == ["NAME", "BY DEFAULT"]
        assert _heads(rows, 45) == ["NAME"]
        narrow = list(THINGS.lines(Page(45, colour=False), rows))
        assert narrow[-2:] == ["(no room for SIZE, BY DEFAULT: --columns or", "-o yaml shows them)"]
        asked = list(THINGS.lines(Page(45, colour=False), rows, "name,size,by-default"))
        assert asked[0].split() == ["NAME", "SIZE", "BY", "DEFAULT"], "what was asked for is shown"

    def test_nothing(self) -> None:
        page = Page(80, colour=False)
        assert list(THINGS.lines(page, ())) == ["there is none"]
        assert list(THINGS.lines(page, (), headed=False)) == []


def _heads(rows: list[tuple[str, str]], width: int) -> list[str]:
    head = next(iter(THINGS.lines(Page(width, colour=False), rows)))
    return [name for name in ("NAME", "BY DEFAULT", "SIZE") if name in head]


class TestWishes:
    def test_names_alone(self, weft, agent) -> None:
        assert weft("network", "ls", "-q").lines == ["blue", LONG]
        assert weft("endpoint", "ls", "--quiet").lines == [e.id for e in ENDPOINTS]

    def test_rows_alone(self, weft, agent) -> None:
        ran = weft("node", "ls", "--no-headers", "--columns", "node")
        assert ran.lines == ["node-1 *", "node-4"]

    def test_hidden_columns(self, weft, agent) -> None:
        assert weft("network", "ls", "--columns", "network,labels").lines[1].split() == ["blue", "team=payments"]

    def test_labels(self, weft, agent: CannedAgent) -> None:
        assert weft("network", "ls", "-q", "-l", "team=payments").lines == ["blue"]
        assert weft("network", "ls", "-q", "-l", "!team").lines == [LONG]
        assert json.loads(weft("endpoint", "ls", "-l", "tier=front,app", "-o", "json").out) == [
            json.loads(encode(ENDPOINTS[0]))
        ]

    def test_order(self, weft, agent) -> None:
        assert weft("network", "ls", "-q", "--sort", "network").lines == [LONG, "blue"]

    @pytest.mark.parametrize(
        ("wish", "status", "reason"),
        [
            ("--columns colour", 1, "no column 'colour': choose of network, driver"),
            ("--sort colour", 1, "no column 'colour'"),
            ("-l a==b", 1, "'a==b' in selector"),
            ("-q -o json", 2, "exclude each other"),
            ("-q --columns network", 2, "exclude each other"),
            ("--columns network -o yaml", 2, "leave one of them out"),
        ],
    )
    def test_what_cannot_be_had_is_refused_before_the_agent_is_asked(
        self, wish: str, status: int, reason: str, weft, agent: CannedAgent
    ) -> None:
        ran = weft("network", "ls", *wish.split())
        assert (ran.status, ran.out, agent.asked) == (status, "", [])
        assert reason in ran.err

    def test_what_stands_below_a_table_is_no_part_of_a_chosen_view(self, weft, agent) -> None:
        assert "AS mismatch" in weft("bgp", "peers").out
        assert "AS mismatch" not in weft("bgp", "peers", "--columns", "peer").out


@contextmanager
def watching(*argv: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """The command, with what it has written so far to a pipe; ended by Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-m", "weft", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        end, got = process.stdout.fileno(), bytearray()
        os.set_blocking(end, False)

        def so_far() -> str:
            with suppress(BlockingIOError):
                while chunk := os.read(end, 65536):
                    got.extend(chunk)
            return got.decode()

        try:
            yield process, so_far
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)


def complaints(process: subprocess.Popen[bytes]) -> list[str]:
    assert process.stderr is not None
    return process.stderr.read().decode().splitlines()


def changes(agent: CannedAgent) -> Callable[[], None]:
    """`topology` answers when the function that is returned was called."""
    happened = threading.Semaphore(0)
    number = iter(range(1, 100))

    def topology(asked: Asked) -> Topology:
        if "after" not in asked.params:
            return Topology(at="1.0", whole=True, time=0)
        while not happened.acquire(timeout=0.02):
            if agent.over.is_set():
                break
        return Topology(at=f"1.{next(number)}", time=0, networks={"blue": None})

    agent.answers["topology"] = topology
    return happened.release


class TestWatching:
    def test_a_block_for_each_change(self, agent: CannedAgent) -> None:
        happened = changes(agent)
        with watching("network", "ls", "-w", "--columns", "network") as (process, so_far):
            until(lambda: so_far() == f"NETWORK\nblue\n{LONG}\n", 20, "the first table")
            happened()  # what is told of changes nothing in the list
            agent.answers["networks"] = NETWORKS[:1]
            happened()
            until(lambda: so_far() == f"NETWORK\nblue\n{LONG}\n\nNETWORK\nblue\n", 20, "the second table")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
            assert complaints(process) == []

    def test_json_in_lines_and_yaml_in_documents(self, agent: CannedAgent) -> None:
        for form in ("json", "yaml"):
            happened = changes(agent)
            agent.answers["networks"] = NETWORKS
            with watching("network", "ls", "-w", "-o", form) as (_process, so_far):
                until(lambda: "host-gw" in so_far(), 20, "the first value")
                agent.answers["networks"] = ()
                happened()
                until(lambda: so_far().endswith("[]\n"), 20, "the second value")
                read = map(json.loads, so_far().splitlines()) if form == "json" else yaml.safe_load_all(so_far())
                assert [len(value) for value in read] == [2, 0]

    def test_where_nobody_tells_it_looks_again(self, agent: CannedAgent) -> None:
        agent.answers["bgp_peers"] = ()
        with watching("bgp", "peer", "ls", "-w", "-q") as (_process, _so_far):
            until(lambda: len(agent.asked) > 1, 20, "a second question")
            assert [asked.operation for asked in agent.asked] == ["bgp_peers"] * len(agent.asked)

    def test_an_agent_that_goes_is_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "weft.sock"
        monkeypatch.setenv("WEFT_SOCKET", str(path))
        answers = {"topology": Topology(at="1.0", whole=True, time=0), "nodes": NODES}
        with ExitStack() as stack:
            with canned_agent(path, answers):
                process, so_far = stack.enter_context(watching("node", "ls", "-wq"))
                until(lambda: so_far() == "node-1\nnode-4\n", 20, "the first list")
            path.unlink()
            assert process.stderr is not None
            gone = process.stderr.readline().decode()  # it has found out
            with canned_agent(path, answers | {"nodes": NODES[:1]}):
                until(lambda: so_far() == "node-1\nnode-4\n\nnode-1\n", 20, "the list of the new agent")
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
            [back] = complaints(process)
        assert gone.endswith("(trying again)\n") and back == "weft: the agent answers again"

    def test_nothing_to_watch(self, weft, tmp_path: Path) -> None:
        ran = weft("--socket", str(tmp_path / "none"), "node", "ls", "-w")
        assert (ran.status, ran.err.count("\n")) == (1, 1)
