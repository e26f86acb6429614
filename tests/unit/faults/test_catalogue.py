"""The table of faults, and the page that is made from it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from weft.faults.catalogue import GROUPS, KINDS, by_drop
from weft.faults.document import document

PAGE = Path(__file__).parents[3] / "docs" / "faults.md"


def test_every_kind_has_an_id_of_its_own() -> None:
    ids = [kind.id for kinds in GROUPS.values() for kind in kinds]
    assert len(ids) == len(set(ids)) >= 70
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each) for each in ids)


def test_every_kind_says_what_users_see_and_how_it_shows() -> None:
    for kind in KINDS.values():
        assert kind.symptom and kind.evidence and kind.by
        assert not kind.symptom.endswith(".") and not kind.evidence.endswith(".")


def test_the_page_is_up_to_date() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(document())
    assert PAGE.read_text() == document(), "UPDATE_GOLDEN=1 ./dev test unit writes it anew"


def test_a_drop_is_evidence_of_what_names_both_reason_and_function() -> None:
    assert [kind.id for kind in by_drop("VXLAN_VNI_NOT_FOUND", "vxlan_rcv")] == ["vni-differs"]
    assert [kind.id for kind in by_drop("IP_RPFILTER", "ip_rcv_finish_core")] == ["rp-filter"]
    assert {kind.id for kind in by_drop("NO_TX_TARGET", "br_handle_frame_finish")} >= {"not-in-bridge", "port-isolated"}
    assert by_drop("NO_SUCH_REASON", "nowhere") == ()


def test_units_that_are_named_anywhere_are_those_that_are_installed() -> None:
    root = PAGE.parents[1]
    units = {path.stem for path in (root / "packaging" / "systemd").glob("*.service")}
    texts = [*(root / "src").rglob("*.py"), *(root / "src").rglob("*.js"), *(root / "docs").rglob("*.md")]
    named = re.compile(r"(?:systemctl (?:--\S+ )?[a-z]+(?: --now)?|journalctl -u) (weft[\w-]*)")
    found = {unit for path in texts for unit in named.findall(path.read_text())}
    assert "weft-agent" in found and found <= units
