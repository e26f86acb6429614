"""Settings: where they come from, which there are, what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.agent import config as config_module
from weft.agent.config import Config, load
from weft.base.errors import Invalid


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weft.toml"


def test_flags_come_before_the_file_and_that_before_what_is_built_in(file: Path) -> None:
    file.write_text('node = "from-file"\nresync = 5\npresence-ttl = 9.5\n')
    config = load(file, {"node": "from-flag", "store": None, "iface": "eth9"})
    assert (config.node, config.iface, config.resync, config.presence_ttl) == ("from-flag", "eth9", 5.0, 9.5)
    assert config.store == "sqlite:///var/lib/weft/weft.db"


def test_the_default_file_may_be_missing_another_may_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "DEFAULT_FILE", file)
    assert load(None, {}) == Config()
    with pytest.raises(Invalid, match=f"no configuration file {file}"):
        load(file, {})
    file.write_text("withdraw = false")
    assert load(None, {}).withdraw is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sotre = 'x'", "unknown setting 'sotre': did you mean store?"),
        ("presence_ttl = 10", "unknown setting 'presence_ttl'"),
        ("[store]\nurl = 'x'", "Expected `str`, got `object` - at `$.store`"),
        ("resync = 'often'", "Expected `float`, got `str` - at `$.resync`"),
        ("node = 'Not A Name'", "'Not A Name' is not a node name"),
        ("presence-ttl = 1", "presence-ttl=1 is too short: at least 2 s"),
        ("resync = 0", "resync=0 is too short: at least 1 s"),
        ("tenure = 5", "tenure=5 is too short: at least 60 s"),
        ("log-format = 'xml'", "log-format 'xml': choose text or json"),
        ("log-level = 'loud'", "log-level 'loud': choose debug, info, warning or error"),
        ("socket-mode = 'rw'", "socket-mode 'rw' is not an octal file mode, such as 0660"),
        ("node = ", "weft.toml: Invalid value"),
    ],
)
def test_what_is_wrong_with_a_file(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(Invalid) as caught:
        load(file, {})
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match=r"weft\.toml: 'utf-8' codec"):
        load(file, {})
    with pytest.raises(Invalid, match="Is a directory"):
        load(file.parent, {})


def test_a_flag_that_is_none_of_the_settings() -> None:
    with pytest.raises(Invalid, match="unknown setting 'colour'"):
        load(None, {"colour": "red"})


def test_the_socket_is_in_the_run_directory_unless_named() -> None:
    assert Config(run_dir="/run/x").socket_path == "/run/x/weft.sock"
    assert Config(run_dir="/run/x", socket="/tmp/a.sock").socket_path == "/tmp/a.sock"
