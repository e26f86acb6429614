"""The API's operations about a store mesh:// (`weft.api.operations`)."""

from __future__ import annotations

from typing import NoReturn

from weft.agent.parts import Parts
from weft.api import mesh as m
from weft.api import types as t
from weft.base.errors import Unsupported


class Mesh:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def mesh(self) -> m.MeshStatus:
        self._refuse()

    async def recover_mesh(self) -> t.Done:
        self._refuse()

    async def leave_mesh(self) -> t.Done:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Unsupported(f"this agent's store is {self._parts.store_status.url}: there is no mesh")
