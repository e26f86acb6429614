"""EC2's API by boto3, as a target needs it: calls that do not block, and errors that say what follows.

boto3 looks for region, endpoint and credentials where AWS's own tools do. It is imported with the first call, as it takes half
a second. It tries nothing again by itself: how often and when is for `weft.targets.calls` to say.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from weft.base.errors import (
    Conflict,
    Denied,
    Exhausted,
    Failed,
    NotFound,
    Throttled,
    Unavailable,
    Unsupported,
    WeftError,
    one_line,
)

T = TypeVar("T")

THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})
EXPIRED = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RequestExpired",
        "SignatureDoesNotMatch",
    }
)
FORBIDDEN = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
AWAY = frozenset({"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable"})
WOULD = "DryRunOperation"
"""What EC2 says where a call would have been made."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds without calls after EC2 said that there were too many: doubling from one to the other, half of it by chance."""


class Would(WeftError):
    """A dry run that is allowed."""


class Ec2:
    def __init__(self, region: str = "", service: str = "ec2") -> None:
        """`region`: where the environment names none. `service`: boto3's name of it."""
        self._default, self._service = region, service
        self._client: Any = None
        self._throttled = 0
        """How often in a row."""

    @property
    def region(self) -> str:
        return str(self._client.meta.region_name) if self._client else self._default

    async def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """One call, by boto3's name of it. Raises WeftError."""
        try:
            found = await in_thread(lambda: self._made(operation, parameters))
        except Throttled:
            self._throttled += 1
            raise
        self._throttled = 0
        return found

    def _made(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            from botocore import exceptions  # type: ignore[import-untyped]
        except ImportError:
            raise Unsupported("the package boto3 is missing: pip install 'weft[aws]', and restart the agent") from None
        try:
            if self._client is None:
                self._client = _client(self._service, self._default)
            found: dict[str, Any] = getattr(self._client, operation)(**parameters)
        except exceptions.ClientError as error:
            raise self._said(operation, error.response.get("Error", {})) from None
        except (
            exceptions.NoCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.PartialCredentialsError,
        ) as e:
            self._client = None
            raise Unavailable(
                f"no credentials for EC2 ({one_line(str(e))}): give the instance a role, or set AWS_ACCESS_KEY_ID"
            ) from None
        except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
            raise Unavailable(f"EC2 cannot be reached: {one_line(str(error))}") from None
        except exceptions.BotoCoreError as error:
            raise Failed(f"EC2: {one_line(str(error))}") from None
        return found

    def _said(self, operation: str, error: dict[str, str]) -> WeftError:
        code, said = error.get("Code", ""), one_line(error.get("Message", ""))
        text = f"{code}: {said}" if said else code
        if code in THROTTLED:
            pause = min(FIRST_PAUSE * 2**self._throttled, LONGEST_PAUSE)
            return Throttled(f"EC2 says {text}", pause * (1 + random.random()) / 2)
        if code in EXPIRED:
            self._client = None  # so that credentials are looked for anew
            return Unavailable(f"EC2 does not take the credentials, which may have expired: {text}")
        return _error(operation, code, text)


def _error(operation: str, code: str, text: str) -> WeftError:
    action = action_of(operation)
    if code == WOULD:
        return Would(text)
    if code in FORBIDDEN:
        return Denied(f"the credentials do not permit {action}: add it to the policy of the instance's role")
    if code in AWAY:
        return Unavailable(f"EC2 is not available: {text}")
    if code == "RouteLimitExceeded":
        return Exhausted("the route table is full: have its quota raised (Service Quotas, VPC, routes per route table)")
    if code == "RouteAlreadyExists":
        return Conflict(f"a route to it came there meanwhile: {text}")
    if code == "InvalidRoute.NotFound":
        return NotFound(text)
    if operation == "replace_route" and code == "InvalidParameterValue":
        return Conflict(f"the route went meanwhile: {text}")
    return Failed(f"{action}: {text}")


def action_of(operation: str) -> str:
    """As a policy of IAM's names it: "ec2:CreateRoute"."""
    return "ec2:" + "".join(word.capitalize() for word in operation.split("_"))


def _client(service: str, region: str) -> Any:
    """In the thread that blocks: it reads files and may ask for credentials."""
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    session = boto3.session.Session()
    once = Config(connect_timeout=4, read_timeout=8, retries={"total_max_attempts": 1, "mode": "standard"})
    return session.client(service, region_name=session.region_name or region, config=once)


async def in_thread(work: Callable[[], T]) -> T:
    """In a thread that nobody has to wait for: where the agent ends, or the time is over, the call is left to itself."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def done(found: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        found, failed = None, None
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(done, found, failed)

    threading.Thread(target=run, name="weft-ec2-call", daemon=True).start()
    return await future
