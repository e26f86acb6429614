"""One connection to an OpenStack cloud, as clouds.yaml or the variables OS_… describe it.

`openstacksdk` finds the cloud, signs in and keeps the token fresh. It blocks, so each call is made in a thread, and it is a
megabyte that hosts without such networks do without: it is imported with the first call.
"""

from __future__ import annotations

import asyncio
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from weft.base.errors import Denied, Invalid, NotFound, Unavailable, Unsupported, WeftError
from weft.openstack.errors import refused

if TYPE_CHECKING:
    from openstack.connection import Connection

AT_ONCE = 8
"""Calls."""
CONNECT, ANSWER, WRITE = 5.0, 10.0, 25.0
"""Seconds for a connection, for an answer, and for one to what makes something: a busy cloud takes long for
a port, and who asked the agent waits for a minute."""


class Cloud:
    """`name`: of a cloud in clouds.yaml; "" is what the variables OS_… say."""

    def __init__(self, name: str = "") -> None:
        self._name, self._lock = name, threading.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, "openstack")
        self._found: Connection | None = None
        self._answered = False

    async def ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: object = None,
        query: Mapping[str, str | Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The answer of Neutron's API. `what`: for messages, what it is about. A list in `query` is for any of its values.
        Raises Invalid, NotFound, Conflict, Exhausted, Denied, Unavailable, Throttled, Unsupported, Failed."""
        seconds = ANSWER if method in ("GET", "DELETE") else WRITE

        def call() -> bytes:
            answer = self._connection().network.request(
                path,
                method,
                json=body,
                params=query,
                headers=dict(headers or {}),
                timeout=(CONNECT, seconds),
                raise_exc=False,
            )
            if answer.status_code >= 400:
                raise refused(answer.status_code, answer.content, what, answer.headers.get("Retry-After", ""))
            self._answered = True
            return bytes(answer.content)

        def in_words() -> bytes:
            """Raises WeftError instead of whatever the libraries raise, which for odd files may be anything."""
            try:
                return call()
            except Exception as error:  # noqa: BLE001
                failure = error if isinstance(error, WeftError) else told(error, what)
                self._doubt(failure)
                raise failure from None

        work = asyncio.get_running_loop().run_in_executor(self._threads, in_words)
        try:
            async with asyncio.timeout(2 * CONNECT + ANSWER + seconds):  # signing in comes first
                return await work
        except TimeoutError:
            raise Unavailable(f"{what}: OpenStack takes too long to answer: try again") from None

    def _connection(self) -> Connection:
        with self._lock:
            if self._found is None:
                self._found = connect(self._name)
            return self._found

    def _doubt(self, failure: WeftError) -> None:
        """Make the next connection anew, unless this one has answered and is only away: who mends clouds.yaml expects that it
        is read again."""
        if not self._answered or isinstance(failure, Denied):
            self._found, self._answered = None, False


def connect(name: str) -> Connection:
    """Raises Unsupported."""
    try:
        import openstack
    except ImportError:
        raise Unsupported('openstacksdk is missing on this host: pip install "weft[openstack]"') from None
    warnings.filterwarnings(
        "ignore", module="openstack"
    )  # what it will do otherwise one day is not the operator's matter
    return openstack.connect(cloud=name or None, api_timeout=ANSWER)


def told(error: Exception, what: str) -> WeftError:
    """By what the libraries raise where no answer came at all."""
    from keystoneauth1 import exceptions as auth
    from openstack import exceptions as sdk

    reason = _reason(error)
    match error:
        case auth.Unauthorized():
            return Denied(f"{what}: OpenStack does not take the credentials: see clouds.yaml, or the variables OS_…")
        case auth.Forbidden():
            return Denied(f"{what}: these credentials may not do that in OpenStack ({reason})")
        case auth.MissingRequiredOptions() | auth.MissingAuthPlugin() | auth.NoMatchingPlugin():
            return Invalid(
                f"{what}: the agent knows no OpenStack cloud ({reason}): write /etc/openstack/clouds.yaml and set "
                "openstack-cloud in weft.toml, or give the agent the variables OS_…"
            )
        case auth.EndpointNotFound() | auth.catalog.EmptyCatalog():
            return NotFound(f"{what}: this OpenStack cloud has no Neutron ({reason})")
        case auth.ClientException():
            return Unavailable(f"{what}: OpenStack does not answer ({reason}): try again, or see clouds.yaml")
        case sdk.ConfigException():
            return Invalid(f"{what}: {reason}: see clouds.yaml, and openstack-cloud in weft.toml")
        case OSError():
            return Unavailable(f"{what}: OpenStack cannot be asked ({reason}): try again")
    return Invalid(
        f"{what}: OpenStack cannot be asked ({type(error).__name__}: {reason or 'no reason given'}): see clouds.yaml, and "
        "openstack-cloud in weft.toml"
    )


def _reason(error: Exception) -> str:
    """What the libraries say, without what only they can read."""
    said = str(error).split("\n")[0]
    short = re.split(r": HTTPS?ConnectionPool\(|\. Required version range", said)[0].rstrip(". ")
    why = re.search(r"\[Errno -?\d+\] ([^'\")]+)", said)
    return f"{short}: {why[1]}"[:300] if why and why[1] not in short else short[:300]
