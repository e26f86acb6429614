"""A real Prometheus (Debian's), inside a host of a lab."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.waiting import until
from weft.lab.inside import Inside

ROOT = Path(__file__).parents[2]
RULES = ROOT / "packaging/prometheus/weft.rules.yml"
_PORT = 9090
_CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: weft
    static_configs:
      - targets: {targets}
"""
_FOR = re.compile(r"^( +)for: .*$", re.MULTILINE)


class Prometheus:
    def __init__(self, place: Inside) -> None:
        self._place = place

    def ask(self, path: str, **words: str) -> Any:
        """An answer of its API. Fails where it refuses."""
        given = [part for name, value in words.items() for part in ("--data-urlencode", f"{name}={value}")]
        url = f"http://127.0.0.1:{_PORT}/api/v1/{path}"
        done = self._place.run(["curl", "-sG", "--max-time", "10", *given, url], timeout=20)
        answer = json.loads(done.stdout or "{}")
        assert answer.get("status") == "success", (path, words, done)
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> dict[str, set[str]]:
        """By alert, the instances that it is about ("" where it is about none)."""
        found: dict[str, set[str]] = {}
        for alert in self.ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                labels = alert["labels"]
                found.setdefault(labels["alertname"], set()).add(labels.get("instance", "").partition(":")[0])
        return found


@contextmanager
def prometheus(place: Inside, targets: Sequence[str], folder: Path) -> Iterator[Prometheus]:
    """It asks `targets` (ADDRESS:PORT) each second, with the rules that Weft ships, which fire at once."""
    rules, config = folder / "rules.yml", folder / "prometheus.yml"
    rules.write_text(_FOR.sub(r"\1for: 0s", RULES.read_text()))
    config.write_text(_CONFIG.format(rules=rules, targets=json.dumps(list(targets))))
    words = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{_PORT}"]
    with (folder / "log").open("w") as log:
        process = place.popen(["prometheus", *words], stdout=log.fileno(), stderr=subprocess.STDOUT)
    try:
        found = Prometheus(place)
        until(lambda: _ready(place), 60, lambda: f"Prometheus: {(folder / 'log').read_text()[-2000:]}")
        yield found
    finally:
        process.terminate()
        process.wait(20)


def _ready(place: Inside) -> bool:
    done = place.run(["curl", "-sf", "--max-time", "2", f"http://127.0.0.1:{_PORT}/-/ready"], timeout=10)
    return done.returncode == 0
