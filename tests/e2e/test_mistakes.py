"""Every line of docs/mistakes.md is typed in one lab, and answered as the page says: in one line that has the value, the reason
and the way out, with the exit status that is told there; and nothing has changed by it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from support.reach import client, make_network, namespaces, weft
from support.snapshot import difference, snapshot
from weft.lab import Lab

PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
NOBODY = shlex.split("setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all")
AT_ONCE = 4
"""Commands under way: none of them changes anything."""
ROW = re.compile(r"\| `(?:(?P<where>[a-z0-9-]+)\$ )?(?P<typed>weft [^`]*)` \| (?P<status>[0-9]) \| (?P<says>.*) \|")


class Mistake(NamedTuple):
    """`where`: a host of the lab, or "nobody": a user of node-1 without any right."""

    where: str
    typed: str
    status: int
    says: str


def mistakes() -> list[Mistake]:
    rows = [row for line in PAGE.read_text().splitlines() if (row := ROW.fullmatch(line))]
    return [Mistake(r["where"] or "node-1", r["typed"], int(r["status"]), _unquoted(r["says"])) for r in rows]


def _unquoted(cell: str) -> str:
    """A cell's code, which is between two backticks on each side, since it has some of its own."""
    return cell.removeprefix("`` ").removesuffix(" ``").replace("\\|", "|")


def files() -> dict[str, str]:
    """Those of the page, by their names: blocks with a title."""
    blocks = re.findall(r'```yaml title="([a-z.]+)"\n(.*?)```', PAGE.read_text(), re.S)
    return dict(blocks)


def furnish(lab: Lab) -> None:
    """What the page says that there is."""
    make_network(lab, "blue", "vxlan", "10.20.0.0/16", "fd00:20::/48")
    make_network(lab, "office", "overlay", "10.30.0.0/16")
    make_network(lab, "prod", "routed", "10.40.0.0/16")
    namespaces(lab.host("node-1"), ["web", "desk", "api", "new"])
    namespaces(lab.host("node-2"), ["db"])
    for host, words in (
        ("node-1", "attach web --network blue --label app=web --publish 8080:80"),
        ("node-1", "attach desk --network office --ip 10.30.0.10 --mac 02:00:00:00:00:07"),
        ("node-1", "attach api --network prod --floating 198.51.100.7"),
        ("node-2", "attach db --network blue"),
        ("node-1", "service create front --network blue --port 80 --select app=web"),
    ):
        done = weft(lab, host, *words.split())
        assert done.returncode == 0, (words, done.stderr)
    for name, text in files().items():
        lab.host("node-1").must(name, ["tee", f"/run/{name}"], input=text)


def typed(lab: Lab, where: str, words: str) -> subprocess.CompletedProcess[str]:
    """In the folder where the page's files are."""
    command = [*lab.weft, *shlex.split(words)[1:]]
    host = "node-1" if where == "nobody" else where
    within = shlex.join([*(NOBODY if where == "nobody" else ()), *command])
    return lab.host(host).run(["bash", "-c", f"cd /run && exec {within}"], timeout=90)


@pytest.fixture(scope="module")
def furnished(lab: Lab) -> Lab:
    furnish(lab)
    return lab


def _wrong(lab: Lab, mistake: Mistake) -> str:
    """What is not as the page says it, "" for nothing."""
    done = typed(lab, mistake.where, mistake.typed)
    wanted = "weft: " + re.escape(mistake.says).replace("…", ".+") + "\n"
    well = done.returncode == mistake.status and not done.stdout and re.fullmatch(wanted, done.stderr)
    return "" if well else f"{mistake.where}$ {mistake.typed}: [{done.returncode}] {done.stdout}{done.stderr}"


def test_the_page_is_long_enough() -> None:
    assert len(mistakes()) >= 60


def test_each_is_answered_as_the_page_says_and_changes_nothing(furnished: Lab) -> None:
    lab = furnished
    hosts = [lab.host(name) for name in ("node-1", "node-2")]
    before, revision = [snapshot(host) for host in hosts], _revision(lab)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for text in pool.map(lambda mistake: _wrong(lab, mistake), mistakes()) if text]
    assert not wrong, "\n".join(wrong)
    assert _revision(lab) == revision, "something was written to the store"
    for host, was in zip(hosts, before, strict=True):
        assert not difference(was, snapshot(host)), host.name


def _revision(lab: Lab) -> int:
    """Of the last change of what all follow, apart from presence, which is renewed without one."""
    return client(lab, "node-1").status().store.revision
