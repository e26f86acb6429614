"""Two hosts without an agent of Weft's, each with a Docker that has its own networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import docker, images
from support.elsewhere import Plain
from weft.lab import Lab, flat


@pytest.fixture(scope="session")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system."""
    return images.layer(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest, lab_base: str, tar: Path) -> Iterator[dict[str, Plain]]:
    docker.needed()
    name = request.module.__name__.rpartition(".")[2][:24].strip("-_")
    with Lab.up(flat(2), name=name, agents=False) as lab:
        made = {host: Plain.on(lab.host(host), Path(lab_base) / "docker" / host) for host in ("node-1", "node-2")}
        try:
            for host in made.values():
                host.engine.start()
                host.engine.docker("import", str(tar), docker.IMAGE)
            yield made
        finally:
            lab.down()
            for host in made.values():
                host.engine.clean()
