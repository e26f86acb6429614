"""An image of busybox, made by hand: there is no registry to have one from."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

_APPLETS = ("sh", "true", "ip", "ping", "nslookup", "cat", "sleep", "httpd", "wget", "nc", "route")


def layer(folder: Path) -> Path:
    """A tar file of a root file system: busybox, and links to it."""
    root = folder / "root"
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "bin/busybox")
    for name in _APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    subprocess.run(["tar", "-C", str(root), "-cf", str(folder / "busybox.tar"), "."], check=True)
    return folder / "busybox.tar"


def archive(layer: Path, name: str) -> Path:
    """The image `name` with this one layer, beside it, as `docker save` writes one (Docker Image Specification 1.2)."""
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    made = layer.with_name("archive.tar")
    with tarfile.open(made, "w") as tar:
        tar.add(layer, "layer.tar")
        for file, content in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(file)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made
