"""Operations that are asked of another node's agent, and that another one asks here: those that are `afar`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import msgspec

from weft import __version__
from weft.api.operations import BY_NAME, Operation
from weft.base.errors import ERRORS, Denied, Failed, Invalid, Unsupported, WeftError
from weft.base.names import check_name
from weft.cluster.post import Post
from weft.cluster.questions import Question, Reply
from weft.model import encode
from weft.model.codec import decode

log = logging.getLogger(__name__)

PATIENCE = 10
"""Seconds for an answer, unless the caller says otherwise."""
LONGEST = 60
UNEXPECTED = "the agent met an unexpected error: its log has the traceback"


def check(op: Operation, query: Collection[str]) -> None:
    """Raises Invalid where it has no such parameters in its query."""
    unknown = [name for name in query if name not in op.query]
    if unknown:
        raise Invalid(f"unknown parameter '{unknown[0]}': {op.name} takes {', '.join(op.query) or 'none'}")


async def perform(service: object, op: Operation, arguments: Mapping[str, str], body: bytes) -> object:
    """The operation here. `arguments`: those of the path and of the query. Raises what it raises, and Invalid."""
    request = {} if op.request is None else {"request": decode(op.request, body)}
    return await getattr(service, op.name)(**arguments, **request)


class Asking:
    def __init__(self, me: str, post: Post, service: object) -> None:
        """`service`: has a method for each operation."""
        self._me, self._post, self._service = me, post, service

    def is_elsewhere(self, node: str, op: Operation) -> bool:
        """Whether a call for `node` ("" for this one) has to be sent on. Raises Invalid where it cannot be."""
        if node in ("", self._me):
            return False
        check_name("node", node)
        if not op.afar:
            raise Invalid(f"{op.name} is done by each agent for its own node only: run it on {node}")
        return True

    async def ask(
        self, node: str, op: Operation, arguments: Mapping[str, str], body: bytes, patience: float = PATIENCE
    ) -> bytes:
        """What the operation returns there, as JSON. Raises what it raises there, and what `Post.ask` raises."""
        question = Question(operation=op.name, asker=self._me, seconds=patience, arguments=dict(arguments), body=body)
        reply = await self._post.ask(node, question)
        if reply.error:
            raise ERRORS.get(reply.error, WeftError)(f"{node}: {reply.message}")
        return bytes(reply.body)

    async def answer(self, question: Question) -> Reply:
        """To another agent."""
        try:
            body = encode(await self._answer(question))
        except WeftError as error:
            return Reply(error=error.code if error.code in ERRORS else "unavailable", message=str(error))
        except Exception:  # the edge of the process, as in `weft.agent.http`
            log.exception("question %s of %s", question.operation, question.asker)
            return Reply(error=Failed.code, message=UNEXPECTED)
        return Reply(body=msgspec.Raw(body))

    async def _answer(self, question: Question) -> object:
        op = BY_NAME.get(question.operation)
        if op is None:
            raise Unsupported(
                f"its agent, of version {__version__}, knows no '{question.operation}': bring it up to date"
            )
        if not op.afar:
            raise Denied(f"{op.name} is not done for other nodes")
        missing = set(op.parts) - question.arguments.keys()
        if missing:
            raise Invalid(f"{op.name} needs the parameter '{min(missing)}'")
        check(op, question.arguments.keys() - set(op.parts))
        return await perform(self._service, op, question.arguments, question.body)
