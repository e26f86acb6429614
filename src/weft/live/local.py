"""This host, where no agent does it: the same watchers and the same packet, in this process, with which they end."""

from __future__ import annotations

from collections.abc import Mapping

from weft.api.live import Probed, ProbeRequest, Watched, WatchRequest
from weft.base.errors import NotFound
from weft.base.net import IPAddress
from weft.hoststate import HOST
from weft.kernel.host import fastpath
from weft.kernel.live import asked, probe
from weft.kernel.live.aside import Aside
from weft.kernel.live.watch import Watch

_ID = "here"


class Local:
    """`places`: names of namespaces by their paths, besides the host's own; of these packets are told."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._watch: Watch | None = None
        self._keeping, self._aside = Aside(fastpath.forget), tuple[IPAddress, ...]()

    def start_watch(self, request: WatchRequest) -> Watched:
        self._watch = Watch(asked.token(request), request.protocol, request.family, self._places, request.namespaces)
        self._aside = asked.aside(request)
        self._watch.unseen += self._keeping.put((HOST,), self._aside)
        return asked.watched(_ID, self._watch)

    def watched(self, id: str) -> Watched:
        return asked.watched(id, self._watching())

    def end_watch(self, id: str) -> Watched:
        watch = self._watching()
        try:
            return asked.watched(id, watch)
        finally:
            self._keeping.back((HOST,), self._aside)
            watch.close()
            self._watch = None

    def send_probe(self, request: ProbeRequest) -> Probed:
        return asked.probed(probe.send(request.namespace, asked.packet(request), asked.seconds(request)))

    def _watching(self) -> Watch:
        if self._watch is None:
            raise NotFound("nothing is watched here")
        return self._watch
