"""What members say to each other by TCP: everything that each of them knows, and pings where UDP brings none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

from weft.base.errors import Denied, Failed, Invalid
from weft.mesh.swim import streams
from weft.mesh.swim.core import Core, Knock
from weft.mesh.swim.seal import Seal
from weft.mesh.swim.wire import Ack, Everything, Ping, Place

_CONNECTIONS = 64
"""That others have open here at once."""


class Exchanges:
    """`heard` is called after the core was told something, `refused` with what was wrong and the address that sent it."""

    def __init__(
        self, core: Core, keys: Seal, heard: Callable[[], None], refused: Callable[[Exception, str], None]
    ) -> None:
        self._core, self._keys, self._heard, self._refused = core, keys, heard, refused
        self._open = 0
        self.count = 0
        """Begun by this host."""

    async def knock(self, knock: Knock) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError, Denied, Invalid):
            answer = await streams.ask(self._keys, self._own, knock.place, knock.ping)
            if isinstance(answer, Ack):
                self._core.knocked(answer.number)
                self._heard()

    async def attempt(self, place: Place) -> None:
        with contextlib.suppress(Failed):
            await self.make(place)

    async def make(self, place: Place) -> None:
        """Raises Failed: why not."""
        self.count += 1
        try:
            answer = await streams.ask(self._keys, self._own, place, self._core.everything())
        except TimeoutError:
            raise Failed("no answer") from None
        except (Denied, Invalid) as error:
            raise Failed(str(error)) from None
        except EOFError:
            raise Failed("it took nothing of what this host said: has it another secret?") from None
        except OSError as error:
            # asyncio puts words of its own beside the number.
            raise Failed(os.strerror(error.errno) if error.errno else str(error)) from None
        if isinstance(answer, Everything):
            self._core.pulled(time.monotonic(), answer)
            self._heard()

    @property
    def _own(self) -> str:
        return self._core.table.me.place[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS:
                async with asyncio.timeout(streams.PATIENCE):
                    await self._answer(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # whoever asked is gone
        except (Denied, Invalid) as error:
            self._refused(error, writer.get_extra_info("peername")[0])
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await streams.read(self._keys, reader)
        if isinstance(asked, Everything):
            self._core.pulled(time.monotonic(), asked)
            answer: Everything | Ack = self._core.everything()
        elif isinstance(asked, Ping) and asked.target == self._core.table.me.name:
            answer = Ack(asked.number)
        else:
            return
        writer.write(streams.frame(self._keys, answer))
        await writer.drain()
        self._heard()
