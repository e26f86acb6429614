"""Keys as patterns make them and read them again, and what a declaration refuses."""

from __future__ import annotations

import pytest

from weft.base.errors import Invalid
from weft.cluster.kinds import KINDS
from weft.model import Lease, encode, keys, records
from weft.model.record import Follow, Pattern, Record, reads


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_key_says_what_it_was_made_of(kind: Record[tuple[str, ...], object]) -> None:
    names = [f"{name}-1" for name in kind.pattern.names]
    key = kind.pattern.key(*names)
    at = kind.pattern.parse(key)
    assert at is not None and list(at) == names and isinstance(at, kind.pattern.fields)
    assert key.startswith(kind.pattern.root)
    for many in range(len(names)):
        assert key.startswith(kind.pattern.under(*names[:many]))
    assert kind.pattern.parse(f"{key}/more") is None and kind.pattern.parse(f"other{key}") is None
    assert sum(other.pattern.parse(key) is not None for other in KINDS) == 1, "no key is of two kinds"


def test_a_key_needs_all_its_names() -> None:
    with pytest.raises(ValueError, match="does not consist of"):
        keys.LEASE.key("blue")


def test_a_declaration_that_does_not_fit_together() -> None:
    with pytest.raises(ValueError, match="differ"):
        Pattern("leases/{node}/{network}", keys.Leased)
    with pytest.raises(ValueError, match="are not all in"):
        Record("leases", keys.LEASE, reads(Lease), by=(("subnets",),))


def test_who_follows_what() -> None:
    assert records.LEASES.prefix("node-1") == "leases/"
    assert records.ENDPOINTS.prefix("node-1") == "endpoints/node-1/"
    assert records.LOCATIONS.follow is Follow.ON_DEMAND and records.LOCATIONS.prefix("node-1") == ""
    assert records.BGP_SETTINGS.prefix("node-1") == "bgp/"


def test_a_record_that_contradicts_its_key() -> None:
    lease = Lease(network="blue", node="node-1", subnets=())
    assert records.LEASES.read(keys.Leased("blue", "node-1"), encode(lease)) == lease
    with pytest.raises(Invalid, match="its node is 'node-1', but its key says 'node-2'"):
        records.LEASES.read(keys.Leased("blue", "node-2"), encode(lease))
