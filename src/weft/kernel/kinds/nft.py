"""Weft's own nftables tables, `weft` of any family.

All is read by netlink, and sets and elements are written so; chains and rules by `nft`, which compiles rules. What was read is
kept, with
the kernel's number of the generation of its rules, which goes up by one with every transaction, whoever makes it. As long
as it has gone up by ours only, what we did tells what there is: then a change costs what it changes, however much there is.

All operations of a call are one transaction, but for elements by the thousand that come together with rules: these come
before, in a transaction of their own (`Delta.early`).

Of a rule that is found only its comment is compared, which is a hash of the rule (`weft.hoststate.rules`); its expressions
say nothing but which sets and chains it names.
"""

from __future__ import annotations

import errno
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec

from weft.base.errors import WeftError
from weft.hoststate import HOST, Key, Object
from weft.hoststate.firewall import HELD, TABLE, Table
from weft.hoststate.rules import FoundRule
from weft.kernel.host import flows, flowtables
from weft.kernel.kinds import nft_batch, nft_text, nft_wire
from weft.kernel.kinds.nft_content import Content, Delta, NftObject, barred, delta, merge
from weft.kernel.kinds.nft_text import WHOLE, Step
from weft.kernel.kinds.nft_wire import FAMILIES
from weft.kernel.plumbing import netns, tools
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.nfnl import Nftables
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Failure, Op

log = logging.getLogger(__name__)

PACKAGE = "nftables"
_LOCATION = re.compile(r"^\S*?:(\d+):\d+-\d+: (?:Error: )?(.*)$", re.M)
_GUARDED = 3
"""So often a change is made only if the rules are as they were read; then whatever they are, since somebody else changes
them all the time."""


class _Known(msgspec.Struct):
    """What is known of a namespace. `generation`: as of which its `content` is right; 0: of none."""

    cookie: int
    generation: int
    content: Content


class Nft:
    """`started` is told the ids of the processes that change rules, and the ports of sockets by which we do. `desired`: what
    is wanted of this host."""

    def __init__(self, started: tools.Started, desired: Mapping[Key, Object]) -> None:
        self._started = started
        self._desired = desired
        self._known: dict[str, _Known] = {}
        self._host: Nftables | None = None

    def close(self) -> None:
        if self._host is not None:
            self._host.close()

    @contextmanager
    def _kernel(self, ns: str) -> Iterator[Nftables]:
        """The host's stays open: the kernel holds up who closes one, until it has cleared away what was removed."""
        if ns != HOST:
            with Nftables() as kernel:
                yield kernel
            return
        if self._host is None:
            self._host = Nftables()
        yield self._host

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, ns: str) -> dict[Key, NftObject]:
        """Raises WeftError."""

        def inside() -> dict[Key, NftObject]:
            with self._kernel(ns) as kernel:
                return self._current(kernel, ns).content.objects()

        return netns.call(ns, inside)

    def _current(self, kernel: Nftables, ns: str) -> _Known:
        """What there is now: read only if rules changed since, otherwise than by us; and the devices of flowtables, which end
        without a new generation."""
        generation, cookie = kernel.generation() or 0, kernel.cookie
        known = self._known.get(ns)
        if known is None or (known.generation, known.cookie) != (generation, cookie) or not generation:
            content = _read(kernel, ns) if generation else Content()
            known = self._known[ns] = _Known(cookie, generation, content)
        elif known.content.flowtables:
            _read_flowtables(kernel, ns, known.content)
        return known

    # -- writing -------------------------------------------------------------------------------------------------------

    def apply(self, ns: str, ops: Sequence[Op]) -> list[Failure]:
        """What the kernel or nft objects to is left out, and told, and the rest done."""
        try:
            return netns.call(ns, lambda: self._apply(ns, ops))
        except WeftError as error:
            self._known.pop(ns, None)  # it may have ended
            return [Failure(op_key(op), str(error)) for op in ops]

    def _apply(self, ns: str, ops: Sequence[Op]) -> list[Failure]:
        failures: dict[Key, Failure] = {}
        tries, ahead = 0, True
        with self._kernel(ns) as kernel:
            known = self._current(kernel, ns)
            while todo := delta(known.content, ops):
                part = (todo.early() if ahead else None) or todo
                complaints = self._commit(kernel, known, part, guarded=tries < _GUARDED)
                if complaints is None:
                    tries += 1
                elif not complaints:
                    self._done(kernel, known, part)
                    if part is todo:
                        break
                    ahead = False
                else:
                    fresh = {key: text for key, text in complaints.items() if key not in failures}
                    if not fresh or WHOLE in fresh:
                        text = next(iter(complaints.values()))
                        return [Failure(op_key(op), f"{describe(op_key(op))}: nft: {text}") for op in ops]
                    failures |= {key: Failure(key, f"{describe(key)}: nft: {text}") for key, text in fresh.items()}
                    ops = [op for op in ops if op_key(op) not in failures]
                known = self._current(kernel, ns)
        if ns != HOST and not (known.content.chains or known.content.sets or known.content.flowtables):
            self._known.pop(ns, None)  # containers come and go
        return list(failures.values())

    def _commit(self, kernel: Nftables, known: _Known, part: Delta, *, guarded: bool) -> dict[Key, str] | None:
        """Complaints by object, none if it went through. None: others changed rules meanwhile."""
        if part.textual:
            return self._run(nft_text.script(known.content, part, self._desired))
        self._started(threading.get_native_id())
        self._started(kernel.port)
        return _send(kernel, known.content, part, known.generation if guarded else None)

    def _run(self, steps: Sequence[Step]) -> dict[Key, str]:
        lines = [(command, step.key) for step in steps for command in step.commands]
        text = "".join(f"{command}\n" for command, _ in lines)
        output = tools.run(["nft", "-f", "-"], PACKAGE, text, self._started)
        if not output.status:
            return {}
        located = [(int(line), text) for line, text in _LOCATION.findall(output.err)]
        found = {lines[line - 1][1]: text for line, text in located if line <= len(lines)}
        return found or {WHOLE: tools.complaint(output)}

    def _done(self, kernel: Nftables, known: _Known, part: Delta) -> None:
        merge(known.content, part)
        generation = kernel.generation() or 0
        known.generation = generation if generation == known.generation + 1 else 0
        stale, come = ([e for e in some if e.to or e.set.startswith(HELD)] for some in (part.stale, part.elements))
        if kernel.netlink is not None:
            flows.settle(kernel.netlink, stale, come)
        if barred(known.content, part):
            self._empty(kernel, known)

    def _empty(self, kernel: Nftables, known: _Known) -> None:
        self._started(kernel.port)
        try:
            flowtables.renew(kernel)
        except WeftError as error:
            log.warning("open connections stay on the short way: %s", error)
        generation = kernel.generation() or 0
        known.generation = generation if known.generation and generation == known.generation + 1 else 0


# -- reading -----------------------------------------------------------------------------------------------------------


def _read(kernel: Nftables, ns: str) -> Content:
    content = Content()
    for family, number in FAMILIES.items():
        if kernel.has_table(number, TABLE):
            _read_table(kernel, Table(family), ns, content)
    _read_flowtables(kernel, ns, content)
    return content


def _read_flowtables(kernel: Nftables, ns: str, content: Content) -> None:
    """All of the namespace, of whatever family. A kernel without them answers none."""
    content.flowtables.clear()
    content.devices.clear()
    request, decode = nft_wire.all_flowtables(), partial(nft_wire.decode_flowtable, ns=ns)
    for flowtable, devices in kernel.dump(u.NFT_MSG_GETFLOWTABLE, request, decode):
        content.put([flowtable, *devices])


def _read_table(kernel: Nftables, table: Table, ns: str, content: Content) -> None:
    request = nft_wire.all_of(table.family)
    sets = kernel.dump(u.NFT_MSG_GETSET, request, partial(nft_wire.decode_set, table=table, ns=ns))
    content.put(sets)
    for obj in sets:
        if obj.timeout:  # what comes and goes by itself is nobody's wish
            continue
        raw = kernel.dump(u.NFT_MSG_GETSETELEM, nft_wire.get_elements(obj), nft_wire.decode_elements)
        content.put(nft_wire.read_elements(obj, [each for some in raw for each in some]))
    rules: dict[str, list[FoundRule]] = {}
    for name, rule in kernel.dump(u.NFT_MSG_GETRULE, request, partial(nft_wire.decode_rule, table=table)):
        rules.setdefault(name, []).append(rule)
    for chain in kernel.dump(u.NFT_MSG_GETCHAIN, request, partial(nft_wire.decode_chain, table=table, ns=ns)):
        content.put([msgspec.structs.replace(chain, rules=tuple(rules.get(chain.name, ())))])


# -- writing by netlink ------------------------------------------------------------------------------------------------


def _send(kernel: Nftables, content: Content, part: Delta, generation: int | None) -> dict[Key, str] | None:
    """As `Nft._commit`. Elements go together into messages. Where the kernel refuses such a message, these elements are sent
    again, each in one of its own, so that it is known which."""
    alone: set[Key] = set()
    while True:
        packets, complaints = nft_batch.transaction(content, part, alone)
        if complaints:
            return complaints
        refused = kernel.transaction([packet.message for packet in packets], generation)
        for place, refusal in refused:
            if place < 0:
                return None if refusal.errno == errno.ERESTART else {WHOLE: refusal.text}
        about = [(packets[place].objects, refusal.text) for place, refusal in refused]
        crowds = [objects for objects, _ in about if len(objects) > 1]
        if not crowds:
            return {objects[0].key if objects else WHOLE: text for objects, text in about}
        alone.update(obj.key for objects in crowds for obj in objects)


def op_key(op: Op) -> Key:
    return op.new.key if isinstance(op, Change) else op.obj.key
