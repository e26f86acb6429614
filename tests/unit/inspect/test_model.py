"""The keys of `-o json` are what others rely on."""

from __future__ import annotations

import msgspec
import pytest

from weft.inspect import model

KEYS = {
    model.Container: "engine id name",
    model.Namespace: "name this engine containers names paths pids processes command inode nsid cookie links unseen",
    model.End: "namespace ifindex name",
    model.Link: "namespace ifindex name kind mac mtu up carrier alias master ports peer lower outside details",
    model.Hop: "how namespace ifindex name kind mtu master details beside ends next",
    model.Found: "link way",
}


@pytest.mark.parametrize("kind", KEYS, ids=lambda kind: kind.__name__)
def test_keys_are_always_there_and_stay(kind: type[msgspec.Struct]) -> None:
    assert [field.encode_name for field in msgspec.structs.fields(kind)] == KEYS[kind].split()
    assert not kind.__struct_config__.omit_defaults
