"""What the agent gives the pump beside its tables."""

from __future__ import annotations

from pathlib import Path

from weft.daemons.tunnels import Tunnels
from weft.tunnel import sleeve, table


def test_a_key_that_somebody_removed_is_there_again(tmp_path: Path) -> None:
    tunnels = Tunnels(tmp_path, b"secret")
    tunnels.pump.folder.mkdir()
    tunnels.stepped()
    assert not sleeve.keys(tunnels.pump.folder)  # nothing is to be carried
    table.put(tunnels.pump.folder / "sleeve-256", ["sleeve"])
    for _ in range(2):
        tunnels.stepped()
        assert sleeve.keys(tunnels.pump.folder) == [b"secret"]
        (tunnels.pump.folder / sleeve.KEY).unlink()
