"""A loop for the kernel, and one for each other target, every one at its own pace: what is slow or away delays nobody else.

All take the same contributions, each its own part of them: by its kind an object says where it belongs. Who waits until
something stands (`Loop.settle`) asks the kernel's loop, and so never waits for what is far away: what a target lacks is told in
status, as long as it lasts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

import msgspec

from weft.api import types as t
from weft.converge.loop import Compile, Loop
from weft.converge.pacing import Pacing, far
from weft.hoststate import Contribution, TargetObject, Union
from weft.hoststate.union import Source
from weft.reconcile.protocol import Kernel
from weft.targets.remote import Remote


class Loops:
    def __init__(
        self,
        kernel: Kernel,
        union: Union,
        compile: Compile,
        pacing: Pacing,
        remotes: Sequence[Remote] = (),
        remote_pacing: Pacing | None = None,
    ) -> None:
        """`pacing`: the kernel's. `remotes`: the targets that this agent drives; they are closed with their loops."""
        self._compile, self._far = compile, remote_pacing or far()
        self._remotes: list[Remote] = []
        self._driven: set[str] = set()
        self.kernel = Loop(kernel, union, lambda source: kernels_part(compile(source), self._driven), pacing)
        self.targets: Mapping[str, Loop] = {}
        self.added: list[Callable[[str, Loop], None]] = []
        """Called with each target's name and loop that is added."""
        for remote in remotes:
            self.add(remote)

    def add(self, remote: Remote) -> None:
        """A further target, whose loop then has to be run, and told of all sources (`touch`)."""
        name = remote.target.name
        self._remotes.append(remote)
        self.expect(remote)
        self.targets = {**self.targets, name: _loop(remote, self._compile, self._far)}
        for hear in self.added:
            hear(name, self.targets[name])

    def pace(self, interval: float) -> None:
        """Seconds between full comparisons, from now on."""
        self._far = msgspec.structs.replace(self._far, interval=interval)
        for loop in self.all:
            loop.pace(interval)

    def expect(self, remote: Remote) -> None:
        """It will be added: what is for it is not the kernel's."""
        self._driven |= remote.target.kinds

    @property
    def all(self) -> tuple[Loop, ...]:
        return (self.kernel, *self.targets.values())

    def touch(self, sources: Iterable[Source]) -> None:
        """These sources may contribute something else now."""
        touched = frozenset(sources)
        for loop in self.all:
            loop.touch(touched)

    async def dry_run(self, network: str = "") -> list[str]:
        """What would be done now, as commands; of one network, or of all. Of targets, by what was found there last."""
        return [line for loop in self.all for line in await loop.dry_run(network)]

    # What there is to see.

    @property
    def busy(self) -> bool:
        return any(loop.busy for loop in self.all)

    @property
    def problems(self) -> dict[Source, tuple[str, ...]]:
        return {source: told for loop in reversed(self.all) for source, told in tuple(loop.problems.items())}

    @property
    def conflicts(self) -> list[str]:
        return [line for loop in self.all for line in loop.conflicts]

    def counts(self) -> dict[str, t.Count]:
        return dict(itertools.chain.from_iterable(loop.counts().items() for loop in self.all))

    def troubles(self) -> tuple[t.Trouble, ...]:
        return tuple(itertools.chain.from_iterable(loop.troubles() for loop in self.all))

    @property
    def repairs(self) -> int:
        return sum(loop.repairs for loop in self.all)

    @property
    def last_repair(self) -> str:
        return max(self.all, key=lambda loop: loop.repaired_at).last_repair

    # Their end.

    def end(self) -> None:
        for loop in self.all:
            loop.end()

    def close(self) -> None:
        for remote in self._remotes:
            remote.close()
        for loop in self.all:
            loop.close()


def _loop(remote: Remote, compile: Compile, pacing: Pacing) -> Loop:
    target = remote.target
    return Loop(
        remote,
        Union(),
        lambda source: targets_part(compile(source), target.kinds),
        pacing,
        always=target.places,
        name=target.name,
    )


def kernels_part(whole: Contribution | None, driven: Set[str]) -> Contribution | None:
    """What of it is the kernel's. `driven`: the kinds that some target of this agent's has; others cannot be had."""
    if whole is None or not any(isinstance(o, TargetObject) for o in whole.objects):
        return whole
    strange = sorted({o.kind for o in whole.objects if isinstance(o, TargetObject)} - driven)
    told = tuple(f"nothing on this host can make a {kind}" for kind in strange)
    objects = tuple(o for o in whole.objects if not isinstance(o, TargetObject))
    return msgspec.structs.replace(whole, objects=objects, problems=(*whole.problems, *told))


def targets_part(whole: Contribution | None, kinds: Set[str]) -> Contribution | None:
    """What of it is a target's with these kinds; the problems are told with the kernel's part."""
    objects = tuple(o for o in whole.objects if o.kind in kinds) if whole else ()
    return Contribution(objects=objects, rank=whole.rank) if whole and objects else None
