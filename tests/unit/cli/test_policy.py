"""`weft policy` against an agent of canned answers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from support.canned import CHANGES, NAMESPACE
from support.canned_agent import CannedAgent
from support.policies import network_policy, own, own_policy
from weft.api import types as t
from weft.cli import document_files
from weft.model import decode

BAD = network_policy("{ingress: [{from: [{}, {}]}]}", "bad")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "policies"
    place.mkdir()
    (place / "b.yaml").write_text(own_policy("{tier: audit}") + own("Tier", "{order: 1}", "audit"))
    (place / "a.yml").write_text(network_policy("{}"))
    (place / "c.json").write_text(json.dumps(NAMESPACE))
    (place / "readme.md").write_text("# no policy")
    return place


def asked(agent: CannedAgent) -> list[t.ApplyPolicies]:
    return [decode(t.ApplyPolicies, a.body) for a in agent.asked]


class TestApply:
    def test_files_and_directories(self, weft, agent: CannedAgent, folder: Path) -> None:
        ran = weft("policy", "apply", "-f", str(folder))
        assert ran.lines == ["namespace//shop created", "policy//last unchanged"]
        assert ran.err == f"weft: note: {CHANGES.notes[0]}\n"
        (request,) = asked(agent)
        kinds = [source.document["kind"] for source in request.documents]
        assert kinds == ["Tier", "Namespace", "NetworkPolicy", "Policy"], "policies after what they stand on"
        assert request.documents[0].place == f"{folder}/b.yaml, line 6" and not request.dry_run

    def test_standard_input_and_several(self, weft, agent: CannedAgent, folder: Path, monkeypatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(network_policy("{}", "other")))
        assert weft("policy", "apply", "-f", "-", "-f", f"{folder}/a.yml").status == 0
        (request,) = asked(agent)
        assert [source.place for source in request.documents] == [
            "standard input, line 1",
            f"{folder}/a.yml, line 1",
        ]

    def test_every_fault_is_told_and_nothing_is_asked(self, weft, agent: CannedAgent, folder: Path) -> None:
        (folder / "bad.yaml").write_text(BAD)
        (folder / "worse.yaml").write_text("a: [")
        (folder / "gone.yaml").symlink_to("elsewhere.yaml")
        ran = weft("policy", "apply", "-f", str(folder), "-f", str(folder / "missing.yaml"))
        assert (ran.status, ran.out, agent.asked) == (1, "", [])
        lines = ran.err.splitlines()
        assert len(lines) == 5 and all(line.startswith("weft: ") for line in lines)
        assert f"weft: {folder}/worse.yaml, line 2: this is not YAML: did not find expected node content" in lines
        assert f"weft: {folder}/gone.yaml: it is a link to elsewhere.yaml, which is not there" in lines
        assert (
            f"weft: {folder}/missing.yaml: there is no such file: name one that is there, a folder, or - for what comes in"
            in lines
        )
        assert f"weft: {folder}/bad.yaml, line 1: NetworkPolicy shop/bad: spec.ingress[0].from[1]: it must" in ran.err

    @pytest.mark.parametrize("name", ["empty", "nothing.yaml", "binary.yaml"])
    def test_where_nothing_is(self, name: str, weft, agent: CannedAgent, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "nothing.yaml").write_text("# nothing\n")
        (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
        ran = weft("policy", "apply", "-f", str(tmp_path / name))
        assert (ran.status, ran.out, agent.asked) == (1, "", [])
        assert ran.err.startswith(f"weft: {tmp_path}/{name}: ") or "has no files *.yaml" in ran.err

    def test_a_dry_run_is_a_diff(self, weft, agent: CannedAgent, folder: Path) -> None:
        before = {**NAMESPACE, "metadata": {"name": "shop", "labels": {"team": "\x1b[2J"}}}
        agent.answers["apply_policies"] = t.PolicyChanges(
            changes=(
                t.PolicyChange(id="namespace//shop", change="changed", before=before, after=NAMESPACE),
                t.PolicyChange(id="namespace//new", change="created", after=NAMESPACE),
                t.PolicyChange(id="policy//last", change="unchanged", before={}, after={}),
            )
        )
        ran = weft("policy", "apply", "-f", str(folder), "--dry-run")
        assert ran.lines[:3] == ["--- namespace//shop", "+++ namespace//shop", "@@ -2,5 +2,5 @@"]
        assert '-    team: "\\e[2J"' in ran.lines and "+    team: a" in ran.lines
        assert "--- /dev/null" in ran.lines and "+++ namespace//new" in ran.lines
        assert ran.lines[-1] == "nothing was changed: 1 would be changed, 1 would be created, 1 would stay"
        assert asked(agent)[0].dry_run

    def test_as_json(self, weft, agent: CannedAgent, folder: Path) -> None:
        found = json.loads(weft("policy", "apply", "-f", str(folder), "-o", "json").out)
        assert [change["change"] for change in found["changes"]] == ["created", "unchanged"]

    def test_what_is_too_much_for_one_request(self, weft, agent: CannedAgent, folder: Path, monkeypatch) -> None:
        monkeypatch.setattr(document_files, "PART", 200)
        ran = weft("policy", "apply", "-f", str(folder))
        assert [len(request.documents) for request in asked(agent)] == [2, 1, 1]
        assert len(ran.lines) == 6
        assert all(request.wait for request in asked(agent)), "what an earlier one wrote is enforced, too"
        assert ran.err.count("note: ") == 1, "what each of them says is said once"
        agent.asked.clear()
        weft("policy", "apply", "-f", str(folder), "--no-wait")
        assert [request.wait for request in asked(agent)] == [False] * 3


class TestShow:
    def test_with_o_it_is_the_document_alone(self, weft, agent: CannedAgent) -> None:
        assert yaml.safe_load(weft("policy", "show", "namespace/shop", "-o", "yaml").out) == NAMESPACE
        assert json.loads(weft("policy", "show", "namespace/shop", "-o", "json").out) == NAMESPACE
        assert weft("policy", "show", "namespace/shop").lines[:3] == ["namespace//shop", "", "apiVersion: v1"]
        assert agent.asked[0].params == {"ref": "namespace/shop"}

    def test_ls(self, weft, agent: CannedAgent) -> None:
        lines = weft("policy", "ls").lines
        assert [line.split()[0] for line in lines if line] == [
            *("POLICY", "clusternetworkpolicy//guard", "networkpolicy/shop/web", "policy//last"),
            *("TIER", "admin", "default", "NETWORK", "networkset//out", "NAMESPACE", "shop"),
        ]
        assert "role == 'web'; namespace shop" in lines[2] and lines[3].split()[1:3] == ["default", "last"]


class TestRm:
    def test_by_name_and_by_file(self, weft, agent: CannedAgent, folder: Path) -> None:
        ran = weft("policy", "rm", "shop/web", "-f", str(folder))
        assert ran.lines == ["namespace//shop removed", "policy//last is not there"]
        request = decode(t.RemovePolicies, agent.asked[0].body)
        assert request.refs == ("shop/web",)
        kinds = [source.document["kind"] for source in request.documents]
        assert kinds == ["NetworkPolicy", "Policy", "Tier", "Namespace"], "policies before what they stand on"

    def test_nothing(self, weft, agent: CannedAgent) -> None:
        ran = weft("policy", "rm")
        assert ran.status == 2 and "give a NAME or --file" in ran.err

    def test_a_dry_run(self, weft, agent: CannedAgent) -> None:
        ran = weft("policy", "rm", "namespace/shop", "--dry-run")
        assert ran.lines[:2] == ["--- namespace//shop", "+++ /dev/null"]
        assert ran.lines[-1] == "nothing was changed: 1 would be removed, 1 are not there"
