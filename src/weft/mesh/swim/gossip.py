"""News on their way: what is told to a few members again and again, until it has been told often enough."""

from __future__ import annotations

from weft.mesh.swim.wire import News, encode


class _Item:
    __slots__ = ("data", "sent")

    def __init__(self, data: bytes) -> None:
        self.data, self.sent = data, 0


class Gossip:
    """One piece of news for each member: what is new of it replaces what was. News told least often go first, so
    that what just came in does not wait for what most have heard."""

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def put(self, news: News) -> None:
        self._items.pop(news.name, None)
        self._items[news.name] = _Item(encode(news))

    def take(self, room: int, times: int) -> list[bytes]:
        """For one datagram with so many octets left. What has been told `times` is dropped."""
        if not self._items:
            return []
        taken = []
        for name, item in sorted(self._items.items(), key=lambda each: each[1].sent):
            if len(item.data) <= room:
                room -= len(item.data)
                taken.append(item.data)
                item.sent += 1
                if item.sent >= times:
                    del self._items[name]
        return taken
