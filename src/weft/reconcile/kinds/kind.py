"""What the reconciler has to know of a kind of kernel objects: one value, most of whose fields have a default that will do.

The rest of `weft.reconcile`, and the fake kernel, ask this value and never what kind an object is of. What a real kernel
has to do for a kind is the other half (`weft.kernel.kinds.kind`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from errno import EEXIST
from typing import Any, Generic, Literal, TypeVar

import msgspec

from weft.hoststate import HOST, Key, Object
from weft.reconcile.protocol import Op

T = TypeVar("T", bound=Object)

Told = Literal["each", "namespace", "never"]


def namespace_key(ns: str) -> Key:
    """Of the namespace at this path, if it is one of ours."""
    return ("netns", HOST, ns)


def link_key(ns: str, dev: str) -> Key:
    return ("link", ns, dev)


def nothing(_obj: Object) -> tuple[Key, ...]:
    return ()


def within(obj: Object) -> tuple[Key, ...]:
    """What everything stands on: its namespace. That this is one of ours is not said: containers' are named, too."""
    return (namespace_key(obj.ns),) if obj.ns != HOST else ()


def on_device(obj: Any) -> tuple[Key, ...]:
    """The same for what is on the device `dev`."""
    device = link_key(obj.ns, obj.dev)
    return (namespace_key(obj.ns), device) if obj.ns != HOST else (device,)


def only_one(obj: Object, making: bool, there: Mapping[Key, Object]) -> int:
    """What is made must not exist."""
    return EEXIST if making and obj.key in there else 0


class Kind(msgspec.Struct, Generic[T], frozen=True, kw_only=True, gc=False):
    """What is asked about an object is a function of that object alone, so it costs the same however many there are."""

    of: type[T]
    """Whose `kind` is its name, whose `key` is what the kernel tells objects of this kind apart by."""

    # -- in words ------------------------------------------------------------------------------------------------------

    commands: Callable[[Op, T], list[str]]
    """What an operator types for an operation. Pasted into a shell of root's, each line does what Weft would."""
    undo: Callable[[T, str | None], list[str]] | None = None
    """What an operator types to put back what was there before Weft, given that (None: not known here); where this is
    not simply to remove the object."""
    once: tuple[str, ...] = ()
    """How commands end that need not be given a second time."""
    words: Callable[[list[str]], str] = " ".join
    """An object in one line, without its kind and its namespace, from what follows these in its key."""

    # -- ownership -----------------------------------------------------------------------------------------------------

    is_ours: Callable[[T], bool] = lambda _obj: True
    """Whether an object read from the kernel carries our mark (what carries none is only read where it is ours)."""
    clash: Callable[[T], str] | None = None
    """What to tell a user where somebody else's lies under the same name, for kinds of which that is looked for."""
    marked: bool = True
    """False: nothing tells whose it is; read is what is desired, and what was there before is remembered."""

    optional: bool = False
    """Whether nothing else is worse for its lack: that it cannot be made is told, and fails nobody who wants it."""

    # -- what it stands on ---------------------------------------------------------------------------------------------

    carries: bool = False
    """Whether other objects stand on these."""
    opens: Callable[[T], str] | None = None
    """The path of the namespace that the object is."""
    hosts: Callable[[T], tuple[Key, ...]] = within
    """The objects that take it along, each of them, when they are removed."""
    carriers: Callable[[T], tuple[Key, ...]] | None = None
    """Those of `hosts` with which it need not be removed, where these are not all."""
    needs: Callable[[T], tuple[Key, ...]] | None = None
    """What has to exist before it can be made, where this is not just `hosts`."""
    namespaces: Callable[[T], tuple[str, ...]] = lambda obj: (obj.ns,)
    """Those that have to exist."""
    guards: Callable[[T], tuple[Key, ...]] = nothing
    """The rules without which it is not made."""
    names: Callable[[T], Set[Key]] | None = None
    """What it refers to without standing on it: that has to be there before, and cannot be removed meanwhile."""

    # -- order ---------------------------------------------------------------------------------------------------------

    rank: Callable[[T], int] = lambda _obj: 0
    """Its place among its kind: the lowest is made first. What it names of its own kind comes before it anyway."""
    joins: Callable[[T], tuple[Key, int] | None] | None = None
    """A key and a rank: if that object is made in the same go, this one is made among those of its kind, at this rank."""

    # -- whether it is right -------------------------------------------------------------------------------------------

    fits: Callable[[T, T], bool] = lambda _found, _wanted: False
    """Whether what was found is as wanted although the two are not equal."""
    stands: Callable[[T, T], bool] | None = None
    """Whether nothing is to be done, given what was wanted last or was found to be otherwise; None: `fits`."""
    in_place: Callable[[T, T], bool] = lambda _found, _wanted: True
    """Whether what was found can be turned into what is wanted; otherwise it is removed first and made anew."""
    left: Callable[[T], bool] = lambda _wanted: False
    """Whether it is not made (again) where it is gone: somebody has taken it."""
    excludes: Callable[[T], Key | None] = lambda _obj: None
    """What only one object can have at a time: another one that has it is removed before this one is made."""
    altered: Callable[[T, T], str] | None = None
    """What others made of an object that is lent (wanted, found), where that has to be known; "" for nothing."""

    # -- what happens to others, and what others do to it --------------------------------------------------------------

    twin: Callable[[T], Key | None] = lambda _obj: None
    """The other end of a pair, which goes with it."""
    brings: Callable[[T], tuple[Object, ...]] = lambda _obj: ()
    """What comes into being with it, as it is at first."""
    without: Callable[[T, Set[Key]], T] | None = None
    """What is left of it when those objects, on which it does not stand, are gone."""

    settled_with: Callable[[T], Key | None] = lambda _obj: None
    """The object at whose making alone it is set: as long as that is there, what others make of this one is theirs."""
    ipv6_on: Callable[[T], str] = lambda _obj: ""
    """The device on which it cannot be while IPv6 is switched off there; "" if it does not depend on that."""

    # -- how a kernel treats it ----------------------------------------------------------------------------------------

    told: Told = "each"
    """Whether a kernel tells of each change, or only that something changed in the namespace, or nothing."""
    silent: Callable[[T], bool] = lambda _obj: False
    """Whether it goes unheard when it goes with something else."""
    refuses: Callable[[T, bool, Mapping[Key, Object]], int] = only_one
    """The errno with which a kernel in which these objects are refuses to make it (True) or to change it, or 0; beyond
    what it stands on, names and needs, which has to be there."""
    becomes: Callable[[T, T | None, T | None], T] = lambda new, _old, _there: new
    """What a kernel makes of `new`, given what it was thought to be and what is there."""
    drops: Callable[[T, T], tuple[str, ...]] = lambda _old, _new: ()
    """The kinds of which a kernel removes what stands on it at this change."""

    @property
    def name(self) -> str:
        return self.of.kind
