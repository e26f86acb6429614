"""The commented settings file, made from what each setting says of itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from weft.agent.config import SETTINGS, Config, load, text
from weft.agent.settings import described, in_toml
from weft.base.errors import Invalid


def _switched_on(name: str = "") -> str:
    """The file with the # before this setting removed, or before all of them."""
    return "\n".join(
        line.removeprefix("#") if line.startswith(f"#{name}") and line[1] != " " else line
        for line in text().splitlines()
    )


def test_the_file_sets_nothing_and_every_line_of_it_can_be_switched_on(tmp_path: Path) -> None:
    file = tmp_path / "weft.toml"
    file.write_text(text())
    assert load(file, {}) == Config()
    assert tomllib.loads(_switched_on()).keys() == {setting.name for setting in SETTINGS}
    for setting in SETTINGS:
        file.write_text(_switched_on(f"{setting.name} ="))
        assert tomllib.loads(file.read_text()).keys() == {setting.name}
        load(file, {})  # what is shown is a value that may be set


def test_a_default_is_shown_as_it_is_or_told_in_words() -> None:
    for setting in SETTINGS:
        example = setting.said.example != ""
        assert example == bool(setting.said.unset), f"{setting.name}: an example goes with words for its default"
        if not example:
            assert tomllib.loads(f"x = {setting.shown}")["x"] == setting.default


def test_lines_fit_a_terminal() -> None:
    assert max(map(len, text().splitlines())) <= 100
    assert next(line for line in text().splitlines() if line.startswith("# ----")) == "# ---- This host ----"


def test_a_setting_without_an_explanation_cannot_be_declared() -> None:
    class Silent(msgspec.Struct):
        loud: bool = False

    with pytest.raises(LookupError, match="says nothing of itself"):
        described(Silent)


@pytest.mark.parametrize(
    "value", ['a "b" \\ \n\t\x7f', "ä", True, 30.0, 86_400.0, 0.1, 1e9, ("a", "b"), (), {"a b": "c"}, {}]
)
def test_values_are_written_as_toml_reads_them(value: str | bool | float | tuple[str, ...] | dict[str, str]) -> None:
    read = tomllib.loads(f"x = {in_toml(value)}")["x"]
    assert read == (list(value) if isinstance(value, tuple) else value)


def test_a_misspelt_setting_is_answered_by_the_right_one(tmp_path: Path) -> None:
    file = tmp_path / "weft.toml"
    for wrong, right in (("presense-ttl", "presence-ttl"), ("log_level", "log-level")):
        file.write_text(f"{wrong} = 1\n")
        with pytest.raises(Invalid, match=f"unknown setting '{wrong}': did you mean {right}"):
            load(file, {})
    file.write_text("colour = 1\n")
    with pytest.raises(Invalid, match="there are node, iface"):
        load(file, {})
