"""The chaos run's command line."""

from __future__ import annotations

import pytest

from chaos.__main__ import main
from chaos.faults import FAULTS


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--faults"]) == 0
    assert capsys.readouterr().out.splitlines() == [fault.name for fault in FAULTS]


@pytest.mark.parametrize("option", ["--without", "--only"])
def test_an_unknown_fault_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option, "flood"])
    assert ended.value.code == 2
    assert "no fault 'flood'" in capsys.readouterr().err


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
