"""All that one host can see of a marked packet, by whatever means its kernel gives."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

from weft.api.live import PacketSeen, Point, RuleSeen
from weft.base.errors import WeftError
from weft.base.net import Family
from weft.hoststate import HOST
from weft.kernel.live.capture import Capture
from weft.kernel.live.nft_trace import NftTrace
from weft.kernel.live.rules import described
from weft.kernel.live.tracepoints import Sighting, Tracepoints
from weft.kernel.plumbing import netns

_POINTS: dict[str, Point] = {
    "netif_receive_skb": "in",
    "net_dev_queue": "queue",
    "net_dev_start_xmit": "out",
    "kfree_skb": "drop",
}
_NOISE = {("NO_SOCKET", "ping_rcv"), ("QUEUE_PURGE", "sk_stream_kill_queues"), ("QUEUE_PURGE", "inet_sock_destruct")}
"""Ends of packets that have arrived all the same: another socket had them too, or their socket was closed unread."""


class Watch:
    """From when it is made until it is closed, which must be by whoever made it; nothing of it outlives the process. `places`:
    names of this host's endpoints by their namespaces' paths: packets are told of these and of the host's own. `ruled`: those
    in which rules are watched, besides the host's own. Raises nothing: what cannot be had is told in `unseen`."""

    def __init__(
        self, token: bytes, protocol: str, family: Family, places: Mapping[str, str], ruled: Sequence[str] = ()
    ) -> None:
        self.unseen: list[str] = []
        self.means: list[str] = []
        self._places = {HOST: "", **places}
        self._by_inode = _inodes(self._places)
        self._packets: list[PacketSeen] = []
        self._rules: list[RuleSeen] = []
        self._lock = threading.Lock()
        """One thread may read while another one closes."""
        self._tracepoints: Tracepoints | None = None
        self._captures: dict[str, Capture] = {}
        self._filters: dict[str, NftTrace] = {}
        try:
            self._tracepoints = Tracepoints(token)
            self.means.append("tracepoints")
        except WeftError as error:
            self.unseen.append(f"where packets end, and why: {error}")
            for path in dict.fromkeys((HOST, *ruled)):
                self._capture(path, token)
        for path in dict.fromkeys((HOST, *ruled)):
            self._watch_rules(path, token, protocol, family)

    def _capture(self, path: str, token: bytes) -> None:
        """What is left to see: packets at devices of one namespace."""
        try:
            self._captures[path] = Capture(token, path)
        except WeftError as error:
            self.unseen.append(f"devices in {self._called(path)}: {error}")
        else:
            self.means += ["capture"] if "capture" not in self.means else []

    def _called(self, path: str) -> str:
        return self._places.get(path) or path or "the host's own namespace"

    def _watch_rules(self, path: str, token: bytes, protocol: str, family: Family) -> None:
        try:
            self._filters[path] = NftTrace(token, protocol, family, path)
        except WeftError as error:
            self.unseen.append(f"rules of nftables in {self._called(path)}: {error}")
        else:
            self.means += ["nftables"] if "nftables" not in self.means else []

    def close(self) -> None:
        """Twice does no harm."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._tracepoints is not None:
            self._tracepoints.close()
            self._tracepoints = None
        for capture in self._captures.values():
            capture.close()
        for trace in self._filters.values():
            trace.close()
        self._captures.clear()
        self._filters.clear()

    def packets(self) -> tuple[PacketSeen, ...]:
        """All until now, in order of time."""
        with self._lock:
            self._read_packets()
            return tuple(self._packets)

    def _read_packets(self) -> None:
        if self._tracepoints is not None:
            for one in self._tracepoints.read():
                path = self._by_inode.get(one.netns)
                if path is not None and (one.reason, one.function) not in _NOISE:
                    self._packets.append(self._told(one, path))
        for path, capture in self._captures.items():
            self._packets += [self._told(one, path) for one in capture.read()]
        self._packets.sort(key=lambda packet: packet.at)

    def _told(self, one: Sighting, path: str) -> PacketSeen:
        return PacketSeen(
            at=one.at,
            point=_POINTS[one.point],
            namespace=path,
            place=self._places.get(path, ""),
            device=one.device,
            length=one.length,
            head=one.head,
            reason=one.reason,
            function=one.function,
        )

    def rules(self) -> tuple[RuleSeen, ...]:
        """All until now, of each namespace in the packet's order."""
        with self._lock:
            self._read_rules()
            return tuple(self._rules)

    def _read_rules(self) -> None:
        for path, trace in self._filters.items():
            self._rules += described(
                RuleSeen(
                    namespace=path,
                    family=one.family,
                    table=one.table,
                    chain=one.chain,
                    handle=one.handle,
                    type=one.type,
                    verdict=one.verdict,
                    to=one.to,
                )
                for one in trace.read()
            )


def _inodes(places: Mapping[str, str]) -> dict[int, str]:
    """Namespaces by their inode numbers, which the kernel's programs see. One that is gone is left out."""
    found = dict[int, str]()
    for path in places:
        try:
            fd = netns.open_path(path)
        except WeftError:
            continue
        try:
            found.setdefault(os.fstat(fd).st_ino, path)
        finally:
            os.close(fd)
    return found
