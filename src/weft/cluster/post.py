"""Asking another node's agent something, and being asked, through the store that both have (docs/adr/0056-questions.md).

    ask ──► questions/NODE/ID ──► the other agent's watch ──► what answers there
                                                                  │
    answer ◄── this agent's watch ◄── answers/ASKER/ID/NUMBER ◄───┘

What lies in the store, and for how long, is `weft.cluster.questions`. Both ends follow it by one watch each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable

from weft.base.errors import NotFound, Unavailable, WeftError
from weft.base.nearby import unknown
from weft.cluster.cluster import Cluster
from weft.cluster.questions import Inbox, News, Question, Reply, cut, identity, joined, lease_of
from weft.model import encode, keys
from weft.store.follow import TROUBLE, Lost, follow
from weft.store.protocol import Absent, DeletePrefix, Put
from weft.tasks import backoff

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Questions that are answered at the same time; the others wait in order."""
GRACE = 5.0
"""Seconds that a question lies in the store beyond the time for which its asker waits."""

Answer = Callable[[Question], Awaitable[Reply]]
"""What answers a question. It raises nothing: what went wrong is a reply, too."""

Found = tuple[bytes, ...] | WeftError
"""The pieces of an answer, or why there is none."""


class Post:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._store, self._view = cluster, cluster.store, cluster.view
        self._inbox = Inbox(cluster.me)
        self._waiting: dict[str, tuple[str, asyncio.Future[Found]]] = {}
        """ID → who was asked, and what will be the answer."""
        self._answering: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._withdrawals: set[asyncio.Task[None]] = set()

    # Asking.

    async def ask(self, node: str, question: Question) -> Reply:
        """What that node's `Answer` said. Raises NotFound for a node that is none; Unavailable where its agent is
        dead or does not answer in time; Failed."""
        self._check(node)
        lease = secrets.randbits(62) + 1
        id = identity(lease)
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting[id] = node, answer
        self._inbox.expect(id)
        try:
            async with asyncio.timeout(question.seconds):
                await self._store.grant(lease, question.seconds + GRACE)
                await self._store.commit([], [Put(keys.QUESTION.key(node, id), encode(question), lease)])
                found = await answer
        except TimeoutError:
            raise self._silent(node, question) from None
        finally:
            del self._waiting[id]
            self._inbox.forget(id)
            self._withdraw(lease)
        if isinstance(found, WeftError):
            raise found
        return await asyncio.to_thread(joined, found)

    def _check(self, node: str) -> None:
        if node not in self._view.nodes:
            raise NotFound(unknown("node", node, self._view.nodes, "weft node ls"))
        if node not in self._view.present:
            raise _dead(node)
        self._cluster.check_reached()

    def _silent(self, node: str, question: Question) -> Unavailable:
        if self._cluster.away:
            return Unavailable(f"{node} was not reached within {question.seconds:g} s: {self._cluster.away}")
        return Unavailable(
            f"{node} has not answered within {question.seconds:g} s: its agent is busy, or stopped, or older than this one and "
            "knows no questions; `weft node ls` shows its version"
        )

    def presence_changed(self) -> None:
        """Or which nodes there are: who is dead will not answer."""
        for node, answer in self._waiting.values():
            if node not in self._view.present and not answer.done():
                answer.set_result(_dead(node))

    def _withdraw(self, lease: int) -> None:
        """With all that is bound to it. Where that fails it ends by itself; nobody waits for it."""

        async def revoke() -> None:
            with contextlib.suppress(WeftError):
                await self._store.revoke(lease)

        task = asyncio.create_task(revoke(), name="weft-withdraw")
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    # Being asked.

    async def run(self, answer: Answer) -> None:
        """For ever: hear questions and answers."""
        try:
            events = follow(self._store, self._inbox.questions, self._inbox.answers)
            async with contextlib.aclosing(events), asyncio.TaskGroup() as tasks:
                async for event in events:
                    if not isinstance(event, Lost):
                        self._heard(self._inbox.heard(event), answer, tasks)
        finally:
            # Whatever comes after this hears of each question anew.
            self._inbox.unheard()
            self._answering.clear()

    def _heard(self, news: News, answer: Answer, tasks: asyncio.TaskGroup) -> None:
        for id, pieces in news.answered.items():
            if id in self._waiting and not self._waiting[id][1].done():
                self._waiting[id][1].set_result(pieces)
        for id in news.withdrawn:
            if (task := self._answering.pop(id, None)) is not None:
                task.cancel()
        for id, question in news.asked.items():
            self._answering[id] = tasks.create_task(self._attend(id, question, answer), name=f"answer {id}")

    async def _attend(self, id: str, question: Question, answer: Answer) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(question.seconds), self._slots:
                pieces = await asyncio.to_thread(cut, await answer(question))
                await self._send(id, question.asker, pieces)
        self._answering.pop(id, None)

    async def _send(self, id: str, asker: str, pieces: list[bytes]) -> None:
        """Again after a failure, until it is there or nobody wants it any more."""
        for pause in backoff(first=0.1, last=1.0):
            try:
                await self._put(id, asker, pieces)
            except NotFound:  # the lease has ended: the asker has gone
                log.debug("question %s of %s is answered too late", id, asker)
            except TROUBLE as error:
                log.debug("the answer to question %s of %s is not sent yet: %s", id, asker, error)
                await asyncio.sleep(pause)
                continue
            except WeftError as error:
                log.warning("the answer to question %s of %s cannot be sent: %s", id, asker, error)
            return

    async def _put(self, id: str, asker: str, pieces: list[bytes]) -> None:
        """Where there is a beginning already, it is of an agent that was killed, or of a try that failed: all begins anew, as
        pieces of two answers make none."""
        lease = lease_of(id)
        first, *others = (Put(keys.PIECE.key(asker, id, str(n)), piece, lease) for n, piece in enumerate(pieces))
        if await self._store.commit([Absent(first.key)], [first]) is None:
            await self._store.commit([], [DeletePrefix(keys.PIECE.under(asker, id))])
            await self._store.commit([], [first])
        for put in others:
            await self._store.commit([], [put])


def _dead(node: str) -> Unavailable:
    return Unavailable(
        f"{node} cannot be asked: no agent runs there, as far as the store knows; start it there, then ask again"
    )
