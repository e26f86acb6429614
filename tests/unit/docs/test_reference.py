"""The reference pages are what the code says now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.reference import ports, variables
from tools.reference.markdown import table, text
from tools.reference.pages import all_pages, out_of_date, write
from weft.agent.measures import MEASURES
from weft.api.operations import OPERATIONS
from weft.base.errors import ERRORS

ROOT = Path(__file__).parents[3]
PAGES = all_pages()


def test_pages_are_current() -> None:
    assert out_of_date(ROOT / "docs", PAGES) == [], "run `python -m tools.reference` and commit what it writes"


def test_what_is_out_of_date_is_found_and_written(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "a\n", "b/c.md": "c\n"})
    (tmp_path / "reference/a.md").write_text("A\n")
    (tmp_path / "reference/gone.md").write_text("gone\n")
    new = {"a.md": "a\n", "b/c.md": "c\n", "d.md": "d\n"}
    assert out_of_date(tmp_path, new) == ["a.md", "d.md", "gone.md"]
    write(tmp_path, new)
    assert out_of_date(tmp_path, new) == []


def test_every_operation_metric_and_error_is_there() -> None:
    api = "".join(text for path, text in PAGES.items() if path.startswith("api/"))
    assert [op.name for op in OPERATIONS if f"## {op.method} {op.path}\n" not in api] == []
    assert [m.shown for m in MEASURES if f"`{m.shown}`" not in PAGES["metrics.md"]] == []
    assert [word for word in ERRORS if f"| `{word}` |" not in PAGES["errors.md"]] == []


def test_every_subcommand_has_a_heading_that_its_list_leads_to() -> None:
    page = PAGES["commands/network.md"]
    assert "[`weft network create`](#weft-network-create)" in page
    assert "\n## `weft network create`\n" in page
    assert "| `-d, --driver DRIVER` |" in page
    assert "\n## `weft trace export`\n" in PAGES["commands/trace.md"]


def test_every_variable_of_wefts_own_is_told() -> None:
    used = {
        name for path in (ROOT / "src/weft").rglob("*.py") for name in re.findall(r"\bWEFT_[A-Z_]+\b", path.read_text())
    }
    inside = {"WEFT_LAB", "WEFT_SLEEVE_DATAGRAMS"}  # of the lab's hosts among themselves; of a test
    assert used - inside == {name for name in variables.VARIABLES if name.startswith("WEFT_")}


@pytest.mark.parametrize("port", ["4789", "8472", "8285", "179", "2379", "6783", "6784", "6785", "6786", "6789"])
def test_ports_are_told(port: str) -> None:
    assert port in {row[0] for row in ports.between_hosts()}


def test_markup_in_plain_text_is_escaped() -> None:
    assert text("a <b> *c* `d_e<f>` g_h") == r"a \<b> \*c\* `d_e<f>` g\_h"
    assert table(("x", ""), [("a|b", "c\nd")]) == "| x |  |\n| --- | --- |\n| a\\|b | c d |\n"
    assert table(("x",), []) == ""
