"""The archive of an image: each blob is what its name says, and the layer is the root."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from tools.package import image


def test_blobs_bear_their_digests_and_lead_to_each_other(tmp_path: Path) -> None:
    root, made = tmp_path / "root.tar", tmp_path / "image.tar"
    with tarfile.open(root, "w") as tar:
        tar.add(__file__, "etc/file")
    image.write(root, made)
    with tarfile.open(made) as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr] # all are files
    blobs = {name.rpartition("/")[2]: content for name, content in files.items() if name.startswith("blobs/sha256/")}
    assert len(blobs) == 3
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in blobs.items())

    def blob(entry: dict[str, Any]) -> bytes:
        content = blobs[entry["digest"].removeprefix("sha256:")]
        assert len(content) == entry["size"]
        return content

    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(entry))
    config, layer = json.loads(blob(manifest["config"])), gzip.decompress(blob(manifest["layers"][0]))
    assert layer == root.read_bytes()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    (older,) = json.loads(files["manifest.json"])
    assert json.loads(files[older["Config"]]) == config and gzip.decompress(files[older["Layers"][0]]) == layer


def test_a_tag_has_only_characters_that_one_may_have() -> None:
    assert set(image.tag()) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
