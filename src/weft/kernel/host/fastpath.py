"""The short way of a namespace: whether there can be one, what is kept of it, and how it is made to forget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from weft.base.errors import NotFound, Unsupported, WeftError
from weft.base.net import Family
from weft.bpf.assembler import Program
from weft.bpf.layout import COUNT, COUNTS, ENTRY, FLOWS, KEY4, KEY6, Entry
from weft.kernel.host import flowtables
from weft.kernel.kinds.bpf_names import MAPS, RUN, closed, cpus, folder, opened, outdate, slot_key, slots
from weft.kernel.plumbing import bpf
from weft.kernel.plumbing.spaces import LOOPBACK

TCX = "tcx"
"""The feature: programs that are asked at devices, before all else and after it."""


def refusal() -> str:
    """Why programs cannot be asked at devices here; "" where they can. It is tried out at the loopback device of the calling
    thread's namespace, which is to be one that ends."""
    passing = Program()
    passing.end()
    try:
        with closed(bpf.load(passing.octets(), "weft_probe")) as fd, closed(bpf.attach(fd, LOOPBACK, "ingress")):
            bpf.settle()
    except WeftError as error:
        return f"{error} (tcx is there from Linux 6.6 on)" if isinstance(error, Unsupported) else str(error)
    return ""


def forget(ns: str, run: Path = RUN) -> None:
    """Nothing that was decided before this call is repeated after it, in this namespace: each connection is asked about again.
    Raises Denied, Failed; NotFound where the namespace is gone."""
    outdate((ns,), run)
    flowtables.forget(ns)


# -- what is to be seen ------------------------------------------------------------------------------------------------


class Count(NamedTuple):
    """Packets and octets that went the short way; packets that took the ordinary one and made an entry."""

    packets: int = 0
    octets: int = 0
    entered: int = 0


def counts(ns: str, run: Path = RUN) -> dict[str, Count]:
    """By network; what shares a number is counted together, for each. Raises Denied."""
    found: dict[str, Count] = {}
    place = folder(ns, run)
    with suppress(NotFound), opened(place / MAPS / COUNTS) as fd:
        for network, slot in slots(place).items():
            each = bpf.lookup(fd, slot_key(slot), COUNT.size * cpus()) or b""
            found[network] = Count(*map(sum, zip(*COUNT.iter_unpack(each), strict=True))) if each else Count()
    return found


def entries(ns: str, family: Family, run: Path = RUN) -> Iterator[tuple[bytes, Entry]]:
    """What is kept, also what does not count any more: by key (`layout.KEY4`, `KEY6`). Raises Denied."""
    key = KEY4 if family == 4 else KEY6
    with suppress(NotFound), opened(folder(ns, run) / MAPS / FLOWS[family]) as fd:
        for found, value in bpf.many(fd, key.size, ENTRY.size):
            yield found, Entry(*ENTRY.unpack(value))
