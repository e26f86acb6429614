"""The metadata service of a cloud's host, which tells a host what it is there. EC2's, version 2 (IMDSv2): every question needs
a token, which only a PUT gets.

EC2 User Guide, "Use the Instance Metadata Service to access instance metadata". The same variables as boto3's move it or
switch it off.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import AsyncIterator

import aiohttp

from weft.base.errors import Invalid, Unavailable, Unsupported
from weft.base.net import parse_network
from weft.model import Node

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
TTL = 60
"""Seconds of a token: it is used at once."""
PATIENCE = 2.0
"""Seconds for an answer: the service is on the host's own link."""
MACS = "network/interfaces/macs"
_DOCUMENT = "dynamic/instance-identity/document"


class Metadata:
    """Of this host. Raises Unavailable, Unsupported."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, token: str) -> None:
        self._session, self._endpoint, self._token = session, endpoint, token

    async def document(self) -> dict[str, str]:
        """The instance identity document."""
        text = await self._get(_DOCUMENT)
        try:
            found = json.loads(text or "{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._nonsense(_DOCUMENT, text)
        return {name: value for name, value in found.items() if isinstance(value, str)}

    async def interface(self, node: Node) -> dict[str, str]:
        """The network interface with this node's address: its id, and those of its subnet and VPC, with the VPC's prefixes.
        Raises Unsupported."""
        wanted = {str(a.ip) for a in node.addresses}
        for mac in await self._words(MACS):
            at = f"{MACS}/{mac.strip('/')}"
            if not wanted.isdisjoint(await self._words(f"{at}/local-ipv4s", f"{at}/ipv6s")):
                return {
                    "interface": await self._id(f"{at}/interface-id", "eni"),
                    "subnet": await self._id(f"{at}/subnet-id", "subnet"),
                    "vpc": await self._id(f"{at}/vpc-id", "vpc"),
                    "vpc-cidrs": " ".join(
                        await self._prefixes(f"{at}/vpc-ipv4-cidr-blocks", f"{at}/vpc-ipv6-cidr-blocks")
                    ),
                }
        raise Unsupported(
            f"no network interface of this instance has {' or '.join(sorted(wanted))}: name the right device with --iface"
        )

    async def _id(self, path: str, kind: str) -> str:
        text = await self._meta(path)
        if not re.fullmatch(f"{kind}-[0-9a-f]+", text):
            raise self._nonsense(path, text)
        return text

    async def _prefixes(self, *paths: str) -> list[str]:
        found: list[str] = []
        for path in paths:
            for word in await self._words(path):
                try:
                    found.append(str(parse_network(word)))
                except Invalid:
                    raise self._nonsense(path, word) from None
        return found

    def _nonsense(self, path: str, text: str) -> Unavailable:
        """A proxy may answer in its place, or a service that is not EC2's."""
        return Unavailable(
            f"the metadata service at {self._endpoint} answers {text[:60]!r} to {path}: is it EC2's, and no proxy's?"
        )

    async def _words(self, *paths: str) -> list[str]:
        return [word for path in paths for word in (await self._meta(path)).split()]

    async def _meta(self, path: str) -> str:
        return await self._get(f"meta-data/{path}")

    async def _get(self, path: str) -> str:
        """ "" where there is no such thing."""
        async with self._session.get(
            f"{self._endpoint}/latest/{path}", headers={"X-aws-ec2-metadata-token": self._token}
        ) as reply:
            if reply.status == 404:
                return ""
            if reply.status != 200:
                raise Unavailable(f"the metadata service at {self._endpoint} answers {reply.status} to {path}")
            return (await reply.text()).strip()


@contextlib.asynccontextmanager
async def asked() -> AsyncIterator[Metadata]:
    """Raises Unsupported where this is no instance, Unavailable."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise Unsupported(
            "the environment says AWS_EC2_METADATA_DISABLED=true, and who this instance is only that service tells"
        )
    mode = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv4").lower()
    endpoint = (os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or ENDPOINTS.get(mode, ENDPOINTS["ipv4"])).rstrip(
        "/"
    )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session:
            yield Metadata(session, endpoint, await _token(session, endpoint))
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        raise Unsupported(
            f"no metadata service answers at {endpoint} ({str(error) or 'no answer'}): is this an EC2 instance, with IMDSv2 on?"
        ) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise Unavailable(f"the metadata service at {endpoint}: {error}") from None


async def _token(session: aiohttp.ClientSession, endpoint: str) -> str:
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TTL)}
    async with session.put(f"{endpoint}/latest/api/token", headers=headers) as reply:
        if reply.status != 200:
            raise Unsupported(
                f"the metadata service at {endpoint} gives no token ({reply.status}): it has to speak IMDSv2"
            )
        return (await reply.text()).strip()
