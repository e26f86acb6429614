"""Pages as blocks, and what a wrong page is told. Commands run on this machine, without a lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.documents import Block, Page, pages
from support.scenarios import STORES, Differs, Stage, play, scenario, standing_on

_HEAD = "# A page\n\n<!-- scenario: lab=machine -->\n\n"


def _page(tmp_path: Path, text: str) -> Page:
    file = tmp_path / "page.md"
    file.write_text(_HEAD + text)
    return Page.read(file)


def _play(tmp_path: Path, text: str) -> Page:
    page = _page(tmp_path, text)
    (tmp_path / "work").mkdir(exist_ok=True)
    play(page, Stage(None, tmp_path / "work"))
    return page


def test_a_session_is_commands_with_what_they_print() -> None:
    lines = (
        "node-1# cat >x <<END",
        "> a",
        "> END",
        "node-1/web# ip a \\",
        "  show",
        "1: lo",
        "",
        "2: eth0",
        "",
        "$ true # exit 1",
    )
    first, second, third = Block("console", lines, line=11).commands()
    assert (first.host, first.text, first.line, first.expected) == ("node-1", "cat >x <<END\na\nEND", 11, ())
    assert (second.host, second.text, second.expected) == ("node-1/web", "ip a \\\n  show", ("1: lo", "", "2: eth0"))
    assert (third.host, third.status, third.line) == ("", 1, 20)


def test_output_before_any_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"line 8: begin with `HOST# ` or `\$ `, not with 'weft status'"):
        Block("console", ("weft status",), line=8).commands()


def test_blocks_are_found_also_hidden_indented_and_with_a_reason(tmp_path: Path) -> None:
    page = _page(
        tmp_path,
        "<!-- console\n$ a\n-->\n\n1. x\n\n    ```console\n    $ b\n      c\n    ```\n\n"
        '<!-- notest: needs EC2 -->\n```console\n$ d\n```\n\n```yaml title="x.yaml"\na: 1\n```\n',
    )
    hidden, indented, untested, file = page.blocks
    assert (hidden.hidden, hidden.lines, hidden.line) == (True, ("$ a",), 6)
    assert (indented.hidden, indented.lines) == (False, ("$ b", "  c"))
    assert (untested.notest, untested.lines) == ("needs EC2", ("$ d",))
    assert (file.title, file.text) == ("x.yaml", "a: 1\n")
    assert page.runs


_RIGHT = """\
```yaml title="a.yaml"
a: 1
```
```console
$ cat a.yaml
a: 1
$ ls nothing  # exit 2
$ (echo begun; sleep 60)
begun
^C
```
"""


def test_a_right_page_passes(tmp_path: Path) -> None:
    _play(tmp_path, _RIGHT)


WRONG = {
    "$ echo two\none": "page.md:6: `echo two` printed something else (- the page, + what came):\n- one\n+ two",
    "$ weft network ls --colour red": "`weft network ls --colour red` ended with exit status 2, not 0:",
    "$ true\n$ false": "page.md:7: `false` ended with exit status 1, not 0:",
    "$ true  # exit 1": "ended with exit status 0, not 1:",
    "$ false | true": "ended with exit status 1, not 0:",
    "$ echo": "",
}


@pytest.mark.parametrize("session", WRONG)
def test_a_wrong_page_is_told_with_its_line(tmp_path: Path, session: str) -> None:
    text = f"```console\n{session}\n```\n"
    if not WRONG[session]:
        _play(tmp_path, text)
        return
    with pytest.raises(Differs) as raised:
        _play(tmp_path, text)
    assert WRONG[session] in str(raised.value)


def test_what_came_is_written_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.scenarios.WRITE", True)
    page = _play(tmp_path, "```console\n$ echo one; echo two\n???\n$ echo three\nfour\n```\ntail\n")
    assert (
        page.path.read_text() == _HEAD + "```console\n$ echo one; echo two\none\ntwo\n$ echo three\nthree\n```\ntail\n"
    )


@pytest.mark.parametrize("attributes", ["lab=moon", "colour=red", "reference", "network=red"])
def test_a_scenario_that_there_is_not_is_refused(tmp_path: Path, attributes: str) -> None:
    with pytest.raises(ValueError):
        scenario(Page(tmp_path / "x.md", f"<!-- scenario: {attributes} -->\n"))


def test_every_page_with_commands_is_played_somewhere() -> None:
    played = [page for store in STORES for page in standing_on("reference", store)] + standing_on("machine")
    assert sorted(page.name for page in played) == sorted(page.name for page in pages() if page.runs)


def test_what_is_not_played_does_not_become_more() -> None:
    """Each says why. Whoever adds one takes another away, or has a good reason to raise this."""
    assert sum(page.text.count("<!-- notest: ") for page in pages()) <= 52
