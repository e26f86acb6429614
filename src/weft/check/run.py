"""How agents are asked to test. Whatever comes in between, the probes are removed; where that cannot be, agents do it
themselves after a while."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from weft.api.checks import MOST_TESTS, Placed, PlaceProbes, Probe, RunTests, Tested
from weft.api.observed import Explanation
from weft.base.errors import NotFound, WeftError
from weft.base.nearby import unknown
from weft.base.net import IPAddress
from weft.check import plan
from weft.check.plan import Case
from weft.check.report import Checked, Denied, Problem, Report, Result, Unplaced, cells, together
from weft.client import Client
from weft.trace import collect
from weft.trace.path import Trace
from weft.trace.what import What

T = TypeVar("T")

AT_ONCE = 16
"""Nodes that are asked at the same time."""
STAYS = 120.0
"""Seconds for which probes stay without being asked for anything."""
PATIENCE, LONGEST = 50, 40.0
"""Seconds for a node's answer; for the tests of one question."""
TRACES = 10
"""Problems that are traced; the others are told without."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """`networks`, `nodes`: none for all. `timeout`: seconds for each answer. `at_once`, `rate`: as of `RunTests`, for each
    node."""

    networks: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    timeout: float = 2.0
    keep_going: bool = False
    outside: tuple[IPAddress, ...] = ()
    services: bool = False
    at_once: int = 16
    rate: int = 200


class Check:
    """`progress`: told what is being done."""

    def __init__(self, agent: Client, wishes: Wishes, progress: Callable[[str], None] = lambda _: None) -> None:
        self._agent, self._wishes, self._progress = agent, wishes, progress
        self.run = secrets.token_hex(4)
        self._silent: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._denied: list[Denied] = []
        self._explained: dict[tuple[str, str, str, int, int], str] = {}

    def whole(self) -> Report:
        """Raises NotFound for a node or network that there is not, and what the local agent raises."""
        nodes = self._nodes()
        self._check_networks()
        try:
            self._progress("making probes")
            request = PlaceProbes(run=self.run, seconds=STAYS, networks=self._wishes.networks)
            placed = self._each(nodes, lambda client: client.place_probes(request))
            checked, skipped = self._checked(placed)
        finally:
            self._progress("removing probes")
            asked = [node for node in nodes if node not in self._silent]
            gone = self._each(asked, lambda client: client.remove_probes(self.run))
        return Report(
            run=self.run,
            ok=not self._problems and not self._silent and not skipped and not any(each.unplaced for each in checked),
            nodes=tuple(nodes),
            networks=tuple(checked),
            problems=tuple(self._problems),
            denied=tuple(self._denied),
            silent=self._silent,
            skipped=tuple(skipped),
            left=tuple(sorted(set(asked) - gone.keys())),
        )

    def _nodes(self) -> list[str]:
        """Those that are to be asked. Of the others it is known why not."""
        found = {node.name: node for node in self._agent.nodes() if not node.foreign}
        for name in self._wishes.nodes:
            if name not in found:
                raise NotFound(unknown("node", name, found, "weft node ls"))
        wanted = [name for name in sorted(found) if not self._wishes.nodes or name in self._wishes.nodes]
        for name in wanted:
            if not found[name].alive:
                self._silent[name] = found[name].evidence or "its agent is not running"
        return [name for name in wanted if found[name].alive]

    def _check_networks(self) -> None:
        found = {network.name for network in self._agent.networks(brief=True)} if self._wishes.networks else set()
        for name in self._wishes.networks:
            if name not in found:
                raise NotFound(unknown("network", name, found, "weft network ls"))

    def _each(self, nodes: Sequence[str], ask: Callable[[Client], T]) -> dict[str, T]:
        """Of those that answer; the others are silent from now on."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check") as pool:
            answers = dict(zip(nodes, pool.map(lambda node: self._one(node, ask), nodes), strict=True))
        self._silent |= {node: str(each) for node, each in answers.items() if isinstance(each, WeftError)}
        return {node: each for node, each in answers.items() if not isinstance(each, WeftError)}

    def _one(self, node: str, ask: Callable[[Client], T]) -> T | WeftError:
        try:
            return ask(self._agent.at(node, PATIENCE))
        except WeftError as error:
            return error

    # Network by network.

    def _checked(self, placed: dict[str, Placed]) -> tuple[list[Checked], list[str]]:
        """And those that were not tested any more."""
        by_network = plan.networks(placed.values())
        networks = sorted({*by_network, *(told.network for each in placed.values() for told in each.unplaced)})
        local = {name for each in placed.values() for name in each.local}
        checked: list[Checked] = []
        for place, name in enumerate(networks):
            self._progress(f"testing network {name}")
            unplaced = tuple(
                Unplaced(node=node, reason=told.reason)
                for node, each in sorted(placed.items())
                for told in each.unplaced
                if told.network == name
            )
            by_node = by_network.get(name, {})
            results = self._tested(list(self._cases(name, by_node, local=name in local)))
            denied = self._judged(results)
            nodes = tuple(sorted(by_node))
            checked.append(
                Checked(
                    network=name,
                    nodes=nodes,
                    local=name in local,
                    sampled=name not in local and len(plan.pairs(nodes)) < len(nodes) * (len(nodes) - 1),
                    cells=cells(results, denied),
                    unplaced=unplaced,
                    tests=len(results),
                )
            )
            if self._problems and not self._wishes.keep_going:
                return checked, list(networks[place + 1 :])
        return checked, []

    def _cases(self, network: str, by_node: dict[str, list[Probe]], *, local: bool) -> Iterator[Case]:
        yield from plan.cases(by_node, local=local)
        for address in self._wishes.outside:
            yield from plan.outside(by_node, address)
        if self._wishes.services and by_node:
            yield from plan.services(by_node, self._agent.services(network))

    def _tested(self, cases: list[Case]) -> list[Result]:
        """In the order of the cases; what a node does not answer has failed."""
        by_asker: dict[tuple[str, str], list[int]] = {}
        for number, case in enumerate(cases):
            by_asker.setdefault((case.source, case.probe), []).append(number)
        parts = [(asker, part) for asker, numbers in by_asker.items() for part in self._parts(numbers)]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check") as pool:
            found = list(pool.map(lambda each: self._ask(each[0], [cases[n] for n in each[1]]), parts))
        answers: dict[int, Tested] = {}
        for (_, numbers), told in zip(parts, found, strict=True):
            answers |= dict(zip(numbers, told, strict=True))
        return [(case, answers[number]) for number, case in enumerate(cases)]

    def _parts(self, numbers: list[int]) -> Iterable[list[int]]:
        """So many that their question is answered in time, though none of them is."""
        wishes = self._wishes
        most = max(1, min(MOST_TESTS, int(wishes.at_once * LONGEST / wishes.timeout), int(wishes.rate * LONGEST / 2)))
        return (numbers[at : at + most] for at in range(0, len(numbers), most))

    def _ask(self, asker: tuple[str, str], cases: list[Case]) -> tuple[Tested, ...]:
        node, probe = asker
        wishes = self._wishes
        request = RunTests(
            probe=probe,
            tests=tuple(case.test for case in cases),
            seconds=wishes.timeout,
            at_once=wishes.at_once,
            rate=wishes.rate,
        )
        answer = self._one(node, lambda client: client.run_tests(self.run, request))
        if isinstance(answer, WeftError):
            return tuple(Tested(error=f"{node} did not test it: {answer}") for _ in cases)
        return answer.results

    # What failed.

    def _judged(self, results: list[Result]) -> list[Case]:
        """What is told of those that failed; the cases that policy denies."""
        denied, failed = [], []
        for case, tested in results:
            if not tested.error:
                continue
            if reason := self._denial(case):
                denied.append(case)
                self._denied.append(
                    Denied(
                        network=case.network,
                        source=case.source,
                        target=case.target,
                        what=case.what,
                        family=case.family,
                        reason=reason,
                    )
                )
            else:
                failed.append((case, tested))
        self._problems += [self._problem(some) for some in together(failed)]
        return denied

    def _denial(self, case: Case) -> str:
        """Why it is forbidden; "" where it is not, or nobody can say."""
        if case.what == "name":  # the resolver is in the probe itself
            return ""
        ends = case.probe or case.source, case.to or str(case.test.target)
        key = *ends, case.protocol, case.test.port, case.family
        if key not in self._explained:
            port = str(case.test.port or "")
            try:
                self._explained[key] = _reason(self._agent.explain(*ends, case.protocol, port, str(case.family)))
            except WeftError:  # a service's address, of which policy is not asked
                self._explained[key] = ""
        return self._explained[key]

    def _problem(self, some: list[Result]) -> Problem:
        case, tested = some[0]
        problem = Problem(
            network=case.network,
            source=case.source,
            target=case.target,
            what=case.what,
            family=case.family,
            address=case.test.target,
            port=case.test.port,
            error=tested.error,
            more=len(some) - 1,
        )
        if case.what == "name" or len(self._problems) >= TRACES:
            return problem
        found = self._trace(case)
        problem = problem if found is None else _with_trace(problem, case, found)
        return self._sized(problem, case) if case.what == "large" and not problem.fault else problem

    def _sized(self, problem: Problem, case: Case) -> Problem:
        """With the largest size that arrives: the tables say nothing of what is between hosts."""
        self._progress(f"looking for the largest packet from {case.source} to {case.target}")
        fits, too_large = plan.SMALLEST[case.family], case.test.size
        while tried := plan.sizes(fits, too_large):
            cases = [
                msgspec.structs.replace(case, test=msgspec.structs.replace(case.test, size=size)) for size in tried
            ]
            arrived = [not tested.error for tested in self._ask((case.source, case.probe), cases)]
            # One that is lost by chance is no limit: what counts is the largest that arrives.
            best = max((size for size, well in zip(tried, arrived, strict=True) if well), default=0)
            if not best and fits == plan.SMALLEST[case.family]:
                too_large = tried[0]
            else:
                fits = max(fits, best)
                too_large = min((size for size in (*tried, too_large) if size > fits), default=too_large)
        return _limited(problem, fits)

    def _trace(self, case: Case) -> Trace | None:
        self._progress(f"tracing {case.source} to {case.target} in {case.network}")
        what = What(protocol=case.protocol, port=case.test.port, size=case.test.size)
        try:
            return collect.gather(self._agent, case.probe or case.source, str(case.test.target), case.family, what)
        except WeftError:
            return None


def _limited(problem: Problem, fits: int) -> Problem:
    advice = (
        f"packets of up to {fits} octets arrive, larger ones are lost between the hosts: raise the MTU there (of a switch, a "
        f"router, a tunnel), or make the network with --mtu {fits}"
    )
    return msgspec.structs.replace(problem, fits=fits, advice=advice)


def _reason(found: Explanation) -> str:
    if found.isolated:
        return found.isolated
    return "" if found.allowed else "; ".join(side.reason for side in found.sides if not side.allowed)


def _with_trace(problem: Problem, case: Case, found: Trace) -> Problem:
    paths = [path for path in (found.there, found.back) if path is not None]
    ends = next((path.outcome for path in paths if not path.outcome.arrived), found.there.outcome)
    said, advice = ends.text, ends.advice
    if found.arrived:
        said = "by the kernels' tables it arrives, and so does the answer"
        mtu = min(path.mtu for path in paths)
        if case.test.size > mtu:
            said, advice = f"the way takes packets of {mtu} octets at most, and this one has {case.test.size}", ""
    return msgspec.structs.replace(
        problem, said=said, advice=advice, host=ends.host, fault=ends.fault, fix=ends.fix, trace=found
    )
