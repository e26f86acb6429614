"""What every command has in common: help, exit statuses, errors in one line, streams."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from typer.core import TyperGroup

from support.canned import ENDPOINTS, ILL
from support.canned_agent import CannedAgent, Hangs, Raw
from weft import __version__
from weft.base.errors import ERRORS
from weft.cli import INTERRUPTED, main
from weft.cli import app as app_module
from weft.cli.session import Waiting
from weft.client.client import INTERRUPTED as INTERRUPTED_CHANGE

WEFT = [sys.executable, "-m", "weft"]


def _commands() -> Iterator[tuple[str, ...]]:
    """Every command and group there is, by its words. A verb whose module is not there yet is passed over."""
    yield ()
    for verb, about in app_module.VERBS.items():
        if find_spec(about.module):
            yield from _below(app_module.load(verb), (verb,))


def _below(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, TyperGroup):
        for name, sub in command.commands.items():
            yield from _below(sub, (*words, name))


@pytest.mark.parametrize("words", list(_commands()), ids=" ".join)
def test_every_help_has_an_example(words: tuple[str, ...], weft) -> None:
    ran = weft(*words, "--help")
    assert (ran.status, ran.err) == (0, "")
    after = ran.out.partition("Example:\n")[2]
    assert after.startswith(("    weft ", "    systemctl "))
    assert max(map(len, ran.lines)) <= 100
    assert weft(*words, "-h").out == ran.out


def test_every_verb_says_in_the_list_what_it_does(weft) -> None:
    out = weft("--help").out
    for verb, about in app_module.VERBS.items():
        if about.summary:
            assert re.search(rf"^({about.section} +| +){verb}(, \w+)* +{re.escape(about.summary)}$", out, re.M), verb
        else:
            assert re.search(rf", {verb}\b", out), verb


def test_all_commands_are_seen_on_one_screen(weft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = weft("--help").lines
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 39, "the 40th is the next prompt's"


def test_version(weft) -> None:
    assert weft("--version").out == weft("version").out == f"weft {__version__}\n"


def _see(command: str) -> str:
    return f"see `weft {command} --help`"


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("zzz", "there is no command `weft zzz`; see `weft --help`"),
            ("node zzz", "there is no command `weft node zzz`; see `weft node --help`"),
            ("statsu", "there is no command `weft statsu`: did you mean `weft status`?"),
            ("status extra", "status: 'extra' is more than it takes; see `weft status --help`"),
            ("status --colour", "status has no option --colour; see `weft status --help`"),
            ("status --chekc -v", "status has no option --chekc: did you mean `weft status --check -v`?"),
            (
                "network ls --filter=a=b",
                "network ls has no option --filter: did you mean `weft network ls --label=a=b`?",
            ),
            (
                "endpoint ls -o xml",
                f"endpoint ls: --output: 'xml' is none of 'table', 'json', 'yaml'; {_see('endpoint ls')}",
            ),
            ("node show", f"node show needs NODE, as in `weft node show node-2`; {_see('node show')}"),
            ("attach 1", f"attach needs --network NETWORK, as in `weft attach web --network blue`; {_see('attach')}"),
            ("network create --driver", f"network create: --driver needs a value; {_see('network create')}"),
            ("network ls --watch=3", f"network ls: --watch takes no value; {_see('network ls')}"),
            ("flows --limit 0", f"flows: --limit: 0 is outside 1 to 5000; {_see('flows')}"),
            ("flows --limit ten", f"flows: --limit: 'ten' is not a whole number; {_see('flows')}"),
            ("check --timeout ten", f"check: --timeout: 'ten' is not a number; {_see('check')}"),
            ("node rm --force=1 x", f"node rm: --force takes no value; {_see('node rm')}"),
        ],
    )
    def test_is_one_line_with_the_way_out(self, line: str, told: str, weft) -> None:
        ran = weft(*line.split())
        assert (ran.status, ran.out, ran.err) == (2, "", f"weft: {told}\n")

    @pytest.mark.parametrize("line", ["", "node", "bgp peer"])
    def test_without_a_command_there_is_help(self, line: str, weft) -> None:
        ran = weft(*line.split())
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith(f"Usage: weft {line} ".replace("  ", " ")) and ran.err.count("Example:") == 1

    @pytest.mark.parametrize("line", ["-h", "network", "network create"])
    def test_help(self, line: str, weft) -> None:
        assert weft("help", *line.replace("-h", "").split()).out == weft(*line.split(), "--help").out


class TestErrors:
    @pytest.mark.parametrize("cls", ERRORS.values(), ids=lambda cls: cls.code)
    def test_one_line_and_the_status_of_the_class(self, cls, weft, agent: CannedAgent) -> None:
        agent.answers["network"] = cls("network red: it is\n  not there")
        ran = weft("network", "show", "red")
        assert (ran.status, ran.out) == (cls.exit_status, "")
        assert ran.err == "weft: network red: it is not there\n"

    def test_not_found_is_4(self, weft, agent: CannedAgent) -> None:
        agent.answers["endpoint"] = ERRORS["not-found"]("no endpoint 'web'")
        assert weft("endpoint", "show", "web").status == 4

    @pytest.mark.parametrize(
        "line",
        [
            "status",
            "doctor",
            "plan",
            "node ls",
            "network rm blue",
            "attach 1 -n blue",
            "detach 1",
            "endpoint ls -o json",
        ],
    )
    def test_no_agent(self, line: str, weft, tmp_path: Path) -> None:
        path = tmp_path / "none.sock"
        ran = weft("--socket", str(path), *line.split())
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == f"weft: no agent answers at {path}: start it with `weft agent run`, or give --socket\n"

    def test_something_else_behind_the_socket(self, weft, agent: CannedAgent) -> None:
        agent.answers["status"] = Raw(200, b"<html>")
        ran = weft("status")
        assert (ran.status, ran.err.count("\n")) == (1, 1)


class TestUnexpectedException:
    @pytest.fixture(autouse=True)
    def broken(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def stumble(*_: object) -> None:
            raise ZeroDivisionError("division\nby zero")

        monkeypatch.setattr("weft.client.Client.status", stumble)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def test_users_get_one_line_and_the_traceback_is_kept(self, weft, tmp_path: Path) -> None:
        ran = weft("status")
        (kept,) = tmp_path.glob("weft-defect-*.txt")
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == (
            "weft: this is a defect of Weft, sorry (ZeroDivisionError: division by zero): "
            f"please report it with {kept}; WEFT_DEBUG=1 shows it here\n"
        )
        assert "in stumble" in kept.read_text()
        assert f"weft {__version__}" in kept.read_text()

    def test_no_password_of_the_command_line_is_kept(
        self, weft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stumble(*_: object) -> None:
            raise ValueError("cannot use etcd://u:pa@ss/geheim@h1")

        monkeypatch.setattr("weft.client.Client.status", stumble)
        monkeypatch.setattr("sys.argv", ["weft", "status", "--store", "etcd://u:pa@ss/geheim@h1", "--key=secret", "-v"])
        ran = weft("status")
        (kept,) = tmp_path.glob("weft-defect-*.txt")
        assert "weft status --store … --key=… -v\n" in kept.read_text()
        for text in (ran.err, kept.read_text()):
            assert "pa@ss" not in text and "geheim" not in text and "secret" not in text

    def test_where_nothing_can_be_kept(self, weft, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
        ran = weft("status")
        assert ran.err.count("\n") == 1
        assert "WEFT_DEBUG=1 weft" in ran.err

    def test_shown_on_request(self, weft, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("WEFT_DEBUG", "1")
        from weft.cli import main

        with pytest.raises(ZeroDivisionError):
            main(["status"])


class TestStreams:
    def test_a_reader_that_goes_away_is_no_error(self, agent: CannedAgent) -> None:
        agent.answers["endpoints"] = ENDPOINTS * 2000  # more than a pipe holds
        read, write = os.pipe()
        with subprocess.Popen([*WEFT, "endpoint", "ls"], stdout=write, stderr=subprocess.PIPE, text=True) as process:
            os.close(write)
            os.read(read, 10)
            os.close(read)
            assert process.communicate(timeout=20)[1] == ""
        assert process.returncode == 0

    def test_what_is_left_to_do_is_done_although_nobody_reads(self, agent: CannedAgent) -> None:
        agent.answers["status"] = ILL
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [*WEFT, "status", "--check"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(write)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "is degraded" in done.stderr

    def test_a_full_disk_is_said(self, agent) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run([*WEFT, "status"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == "weft: the output could not be written: No space left on device\n"

    def test_interrupted(self, weft, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("weft.client.Client.status", interrupt)
        ran = weft("status")
        assert (ran.status, ran.out, ran.err) == (130, "", "")

    @pytest.mark.parametrize(
        ("words", "said"),
        [(("policy", "rm", "web"), f"weft: {INTERRUPTED_CHANGE}\n"), (("policy", "ls"), ""), (("network", "ls"), "")],
    )
    def test_who_interrupts_a_change_is_told_that_it_may_be_done(
        self, weft, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("weft.client.client.ask", interrupt)
        ran = weft(*words)
        assert (ran.status, ran.out, ran.err) == (130, "", said)


def _on_a_terminal(
    *argv: str, env: dict[str, str] | None = None, seen: Callable[[str], object] = lambda _text: None
) -> str:
    """What a terminal of 100 columns gets to see, stdout and stderr; `seen` is told as it comes."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **(env or {})}
    with subprocess.Popen([*WEFT, *argv], stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        text = ""
        try:
            while chunk := os.read(ours, 65536):
                text += chunk.decode(errors="replace")
                seen(text)
        except OSError:  # EIO: nobody has the other end any more (pty(7))
            pass
        process.wait(timeout=20)
    os.close(ours)
    return text


class TestTerminal:
    def test_colour(self, agent, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert "\x1b[32mconverged\x1b[0m" in _on_a_terminal("status")

    def test_no_color(self, agent) -> None:
        seen = _on_a_terminal("status", env={"NO_COLOR": "1"})
        assert "node-1 is converged" in seen
        assert "\x1b" not in seen

    def test_a_quick_answer_needs_no_spinner(self, agent) -> None:
        assert "asking" not in _on_a_terminal("node", "ls")

    def test_spinner_while_waiting(self, agent: CannedAgent) -> None:
        """The answer comes when the spinner has been seen."""
        agent.answers["status"] = Hangs()
        assert "asking the agent" in _on_a_terminal("status", seen=lambda text: "asking" in text and agent.over.set())


def test_no_spinner_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Waiting("waiting", patience=0.0):
        pass
    assert capsys.readouterr() == ("", "")


SHELLS = {
    "bash": """. ./completion; COMP_WORDS=(weft network show b); COMP_CWORD=3; _weft weft; echo "${COMPREPLY[@]}" """,
    "zsh": """compdef() { :; }; . ./completion; words=(weft network show b); CURRENT=4
        compadd() { echo ${(P)2}; }; _files() { echo files; }; _weft""",
    "fish": """. ./completion; complete --do-complete 'weft network show b'""",
}


class TestCompletion:
    @pytest.mark.parametrize(("shell", "script"), SHELLS.items())
    def test_in_a_real_shell(self, shell: str, script: str, weft, agent, tmp_path: Path) -> None:
        """What somebody gets who presses Tab, without typing it: shells can be asked."""
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        (tmp_path / "completion").write_text(weft("completion", shell).out)
        (tmp_path / "weft").write_text(f'#!/bin/sh\nexec {sys.executable} -m weft "$@"\n')
        (tmp_path / "weft").chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run([shell, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.stdout.split(), done.stderr) == (["blue"], "")

    @pytest.fixture
    def complete(self):
        def run(line: str) -> list[str]:
            words = line.split(" ")
            env = {
                **os.environ,
                "_WEFT_COMPLETE": "complete_bash",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words) - 1),
            }
            done = subprocess.run(WEFT, env=env, capture_output=True, text=True, check=True)
            assert done.stderr == ""
            return done.stdout.split()

        return run

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("weft st", ["status", "store"]),
            ("weft network sh", ["show"]),
            ("weft network show b", ["blue"]),
            ("weft node rm ", ["node-1", "node-4"]),
            ("weft endpoint show w", ["web"]),
            ("weft attach x --network a", ["a-network-with-a-rather-long-name"]),
            ("weft network create x --driver v", ["vxlan"]),
            ("weft status -o j", ["json"]),
        ],
    )
    def test_names(self, line: str, words: list[str], complete, agent) -> None:
        assert complete(line) == words

    def test_without_an_agent_there_are_no_names_and_no_error(self, complete, monkeypatch) -> None:
        monkeypatch.setenv("WEFT_SOCKET", "/nonexistent/weft.sock")
        assert complete("weft network show ") == []


@pytest.mark.parametrize("line", ["--help", "status", "network ls", "node ls -o json", "network create --help"])
def test_a_command_imports_only_what_it_needs(line: str, agent) -> None:
    stdlib = "asyncio", "email", "hashlib", "http.client", "ssl"
    heavy = *stdlib, "aiohttp", "grpc", "rich", "yaml", "weft.lab", "weft.agent", "weft.kernel", "weft.datapaths"
    code = (
        "import sys, weft.cli; status = weft.cli.main(sys.argv[1:])\n"
        f"sys.exit([m for m in {heavy!r} if m in sys.modules] or status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_interrupted_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "weft.cli.app", Slow("weft.cli.app"))
    assert main(["status"]) == INTERRUPTED
