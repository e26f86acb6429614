"""News on their way: what is told to a few members again and again, until it has been told often enough."""

from __future__ import annotations

from weft.mesh.swim.wire import News, encode


class Gossip:
    """One piece of news for each member: what is new of it replaces what was. News told least often go first, so
    that what just came in does not wait for what most have heard."""

    def __init__(self) -> None:
        self._told: list[dict[str, bytes]] = [{}]
        """News by how often they have been told."""
        self._times: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, name: str) -> bool:
        return name in self._times

    def put(self, news: News) -> None:
        if (times := self._times.get(news.name)) is not None:
            del self._told[times][news.name]
        self._times[news.name] = 0
        self._told[0][news.name] = encode(news)

    def take(self, room: int, most: int) -> list[bytes]:
        """For one datagram with so many octets left. What has been told `most` times is dropped."""
        taken = list[tuple[str, bytes]]()
        for news in self._told:
            for each in news.items():
                room -= len(each[1])
                if room < 0:
                    break
                taken.append(each)
            if room < 0:
                break
        for name, data in taken:
            self._once_more(name, data, most)
        return [data for _, data in taken]

    def _once_more(self, name: str, data: bytes, most: int) -> None:
        times = self._times.pop(name)
        del self._told[times][name]
        if times + 1 < most:
            self._times[name] = times + 1
            while len(self._told) <= times + 1:
                self._told.append({})
            self._told[times + 1][name] = data
