"""`weft apply` and `weft export` against an agent of canned answers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from support.canned import NAMESPACE, NETWORK_DOCUMENT
from support.canned_agent import CannedAgent
from support.declared import BLUE, PEER, WEB
from weft.api import declared as d
from weft.model import decode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "cluster"
    place.mkdir()
    (place / "a.yaml").write_text(BLUE + "---" + WEB)
    (place / "b.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [NAMESPACE]}))
    return place


def asked(agent: CannedAgent) -> d.Apply:
    [request] = agent.asked
    return decode(d.Apply, request.body)


class TestApply:
    def test_all_documents_of_all_places_come_at_once(self, weft, agent: CannedAgent, folder: Path) -> None:
        ran = weft("apply", "-f", str(folder), "--prune", "app=shop", "--prune", "tier=front")
        assert ran.lines == ["network/blue created", "service/blue/web unchanged"]
        assert ran.err == "weft: note: f.yaml, line 1: Policy web: a note\n" and ran.status == 0
        request = asked(agent)
        assert [source.place for source in request.documents] == [
            f"{folder}/a.yaml, line 2",
            f"{folder}/a.yaml, line 7",
            f"{folder}/b.json, line 1: items[0]",
        ]
        assert request.prune == {"app": "shop", "tier": "front"} and not request.dry_run

    def test_a_dry_run_is_shown_as_a_difference(self, weft, agent: CannedAgent, folder: Path) -> None:
        ran = weft("apply", "-f", f"{folder}/a.yaml", "--dry-run")
        assert asked(agent).dry_run and ran.status == 0
        assert ran.lines[:4] == ["--- /dev/null", "+++ network/blue", "@@ -0,0 +1,8 @@", "+apiVersion: weft/v1"]
        assert ran.lines[-1] == "nothing was changed: 1 would be created, 1 would stay"

    def test_what_the_agent_finds_wrong_is_told_line_by_line(self, weft, agent: CannedAgent, folder: Path) -> None:
        agent.answers["apply"] = d.Applied(faults=("f.yaml, line 1: one", "f.yaml, line 2: two"))
        ran = weft("apply", "-f", str(folder))
        assert (ran.status, ran.out) == (1, "")
        assert ran.err == "weft: f.yaml, line 1: one\nweft: f.yaml, line 2: two\n"

    @pytest.mark.parametrize("change", ["failed", "waits", "not-tried"])
    def test_what_was_not_done_is_told_and_the_status_says_so(self, weft, agent, folder: Path, change: str) -> None:
        agent.answers["apply"] = d.Applied(changes=(d.DeclaredChange(id="network/blue", change=change, reason="why"),))
        ran = weft("apply", "-f", str(folder))
        assert ran.status == 1 and ran.lines == [f"network/blue {change.replace('-', ' ')}: why"]
        assert ran.err == "weft: 1 of 1 are not applied: why\n"

    def test_a_dry_run_says_why_something_would_wait(self, weft, agent: CannedAgent, folder: Path) -> None:
        agent.answers["apply"] = d.Applied(changes=(d.DeclaredChange(id="network/blue", change="waits", reason="why"),))
        ran = weft("apply", "-f", str(folder), "--dry-run")
        assert ran.status == 0
        assert ran.lines == ["network/blue waits: why", "nothing was changed: 1 would wait"]

    def test_every_fault_of_files_is_told_and_nothing_is_asked(self, weft, agent, folder: Path) -> None:
        (folder / "c.yaml").write_text("kind:\tx\n\ty")
        (folder / "d.yaml").write_text("5")
        (folder / "e.yaml").write_bytes(b"\xff")
        ran = weft("apply", "-f", str(folder), "-f", f"{folder}/none.yaml")
        assert ran.status == 1 and not agent.asked
        assert [line.removeprefix(f"weft: {folder}/")[:30] for line in ran.err.splitlines()] == [
            "c.yaml, line 2: this is not YA",
            "d.yaml, line 1: a document is ",
            "e.yaml: it is not text in UTF-",
            "none.yaml: there is no such fi",
        ]

    def test_nothing_to_apply(self, weft, agent: CannedAgent, folder: Path, monkeypatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("---\n"))
        assert weft("apply", "-f", "-").err == "weft: -: there are no documents in it\n"
        assert weft("apply").status == 2
        assert not agent.asked

    def test_a_password_comes_from_the_folder_of_its_document(self, weft, agent: CannedAgent, folder: Path) -> None:
        (folder / "c.yaml").write_text(PEER.replace("ttlSecurity", "passwordFile: tor.key, ttlSecurity"))
        ran = weft("apply", "-f", str(folder))
        assert "c.yaml, line 2: BgpPeer tor-a: password file" in ran.err and not agent.asked
        (folder / "tor.key").write_text("hunter2\nrest")
        assert weft("apply", "-f", str(folder)).status == 0
        spec = asked(agent).documents[-1].document["spec"]
        assert spec["password"] == "hunter2" and "passwordFile" not in spec

    def test_the_schema_is_shown_without_an_agent(self, weft, agent: CannedAgent) -> None:
        assert json.loads(weft("apply", "--schema").out)["oneOf"] and not agent.asked


class TestExport:
    def test_documents_one_after_the_other(self, weft, agent: CannedAgent) -> None:
        ran = weft("export", "network", "service/blue/web", "-n", "blue", "-l", "app=shop")
        assert list(yaml.safe_load_all(ran.out)) == [NETWORK_DOCUMENT, NAMESPACE]
        assert ran.err == "weft: note: bgp peer tor: its password is not shown\n"
        [request] = agent.asked
        assert request.params == {"refs": "network,service/blue/web", "network": "blue", "labels": "app=shop"}

    def test_json_is_a_list_that_can_be_applied(self, weft, agent: CannedAgent, tmp_path: Path) -> None:
        file = tmp_path / "all.json"
        file.write_text(weft("export", "-o", "json").out)
        agent.asked.clear()
        assert weft("apply", "-f", str(file)).status == 0
        assert [source.document for source in asked(agent).documents] == [NETWORK_DOCUMENT, NAMESPACE]

    def test_a_file_for_each(self, weft, agent: CannedAgent, tmp_path: Path) -> None:
        assert weft("export", "--dir", str(tmp_path / "out")).lines == [f"wrote 2 files to {tmp_path}/out"]
        assert {file.name: yaml.safe_load(file.read_text()) for file in (tmp_path / "out").iterdir()} == {
            "network-blue.yaml": NETWORK_DOCUMENT,
            "namespace-shop.yaml": NAMESPACE,
        }
        assert weft("export", "-o", "table").status == 2


@pytest.mark.parametrize(
    ("words", "ref"),
    [
        (("network", "show", "blue"), "network/blue"),
        (("service", "show", "web"), "service/blue/web"),
        (("bgp", "show"), "bgpsettings"),
    ],
)
def test_what_can_be_declared_is_shown_as_its_document(
    weft, agent: CannedAgent, words: tuple[str, ...], ref: str
) -> None:
    agent.answers["declared"] = d.Declared(documents=(NETWORK_DOCUMENT,))
    assert yaml.safe_load(weft(*words, "-o", "yaml").out) == NETWORK_DOCUMENT
    assert agent.asked[-1].params["refs"] == ref
    assert "apiVersion" not in weft(*words, "-o", "json").out


def test_a_folder_that_is_a_file_is_told_as_that(weft, agent: CannedAgent, tmp_path: Path) -> None:
    agent.answers["declared"] = d.Declared(documents=(NETWORK_DOCUMENT,))
    place = tmp_path / "all.yaml"
    place.write_text("mine")
    told = weft("export", "--dir", str(place))
    assert (
        told.status == 1
        and told.err == f"weft: {place} is a file: --dir takes a folder, which is made where there is none\n"
    )
    assert place.read_text() == "mine"
