"""What stands on what, and the order that follows from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from weft.hoststate import Key, Object
from weft.reconcile.kinds.table import CARRIERS, KINDS


def hosts_of(obj: Object) -> tuple[Key, ...]:
    """The objects that take `obj` along, each of them, when they are removed. That a namespace is one of ours is not said
    by its being among them: containers' are, too."""
    return KINDS[obj.kind].hosts(obj)


def carriers_of(obj: Object) -> tuple[Key, ...]:
    """Those with which `obj` need not be removed."""
    kind = KINDS[obj.kind]
    return kind.hosts(obj) if kind.carriers is None else kind.carriers(obj)


def twin_of(obj: Object | None) -> Key | None:
    """The other end of a pair."""
    return None if obj is None else KINDS[obj.kind].twin(obj)


def needs(obj: Object) -> tuple[Key, ...]:
    """What has to exist before `obj` can be made."""
    kind = KINDS[obj.kind]
    return kind.hosts(obj) if kind.needs is None else kind.needs(obj)


def guards_of(obj: Object) -> tuple[Key, ...]:
    """The rules without which `obj` is not made."""
    return KINDS[obj.kind].guards(obj)


def fall(hosts: Set[Key], objects: Mapping[Key, Object]) -> set[Key]:
    """`hosts` and those of `objects` that vanish with them."""
    if not hosts:
        return set()
    fallen = set(hosts)
    carriers = [(key, hosts_of(obj)) for key, obj in objects.items() if key[0] in CARRIERS]
    while more := {key for key, on in carriers if key not in fallen and not fallen.isdisjoint(on)}:
        fallen |= more
    of = {name: kind.hosts for name, kind in KINDS.items() if name not in CARRIERS}
    fallen.update(key for key, obj in objects.items() if (on := of.get(key[0])) and not fallen.isdisjoint(on(obj)))
    return fallen


_LOSING = {name: kind.without for name, kind in KINDS.items() if kind.without is not None}


def losing(fallen: Set[Key], objects: Mapping[Key, Object]) -> dict[Key, Object]:
    """Those of `objects` that stay, but not as they are, when others have fallen: what is left of each."""
    left: dict[Key, Object] = {}
    for key, obj in objects.items():
        if (without := _LOSING.get(key[0])) is not None and (rest := without(obj, fallen)) is not obj:
            left[key] = rest
    return left


def fits(found: Object, wanted: Object) -> bool:
    """Whether `found` is as wanted."""
    return found == wanted or KINDS[wanted.kind].fits(found, wanted)


def stands(known: Object, wanted: Object) -> bool:
    """Whether nothing is to be done, where `known` is what was wanted last or what was found to be otherwise."""
    kind = KINDS[wanted.kind]
    return known == wanted or (kind.stands or kind.fits)(known, wanted)


def left(wanted: Object) -> bool:
    """Whether it is not made where it is gone."""
    return KINDS[wanted.kind].left(wanted)


def in_place(found: Object, wanted: Object) -> bool:
    """Whether one can be turned into the other as it lies there."""
    return KINDS[wanted.kind].in_place(found, wanted)


_PLACES = {name: place for place, name in enumerate(KINDS)}
_JOINING = {name: kind.joins for name, kind in KINDS.items() if kind.joins is not None}


_NAMING = {name: kind.names for name, kind in KINDS.items() if kind.names is not None}


def in_order(objects: Iterable[Object]) -> list[Object]:
    """In the order of making: by kind, then by rank within the kind; what is named comes before what names it."""
    given = list(objects)
    made = {key for obj in given if obj.kind in CARRIERS for key in (obj.key,)}
    after = _after(given)

    def place(obj: Object) -> tuple[int, int, Key]:
        key = obj.key
        name = key[0]
        if (joins := _JOINING.get(name)) and (joined := joins(obj)) and joined[0] in made:
            return _PLACES[joined[0][0]], joined[1], key
        return (*after[key], key) if key in after else (_PLACES.get(name, 0), KINDS[name].rank(obj), key)

    return sorted(given, key=place)


def _after(objects: Iterable[Object]) -> dict[Key, tuple[int, int]]:
    """Of those that lead to others: the last kind among itself and these, since it is made among that; and through how many
    of these it may lead at most. What nothing names thus comes last."""
    leads = {obj.key: to for obj in objects if (names := _NAMING.get(obj.kind)) is not None and (to := names(obj))}
    found: dict[Key, tuple[int, int]] = {}

    def place(key: Key, above: tuple[Key, ...]) -> tuple[int, int]:
        if key not in leads:
            return _PLACES.get(key[0], 0), 0
        if key not in found:
            last = [place(to, (*above, key)) for to in leads[key] if to not in above]
            found[key] = max((_PLACES[key[0]], 0), *((kind, depth + 1) for kind, depth in last))
        return found[key]

    for key in leads:
        place(key, ())
    return found
