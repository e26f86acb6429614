"""An image for container engines, as one tar file: Debian with the package installed. No engine is needed to make it.

It is an OCI image layout (OCI Image Format Specification 1.0), which `podman load` and `docker load` take; `manifest.json` is
for a Docker before version 25, which knows only its own form.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.package import deb
from tools.package.source import architecture, epoch, run, version

SUITE = "bookworm"
PACKAGES = (
    "bird2", "ca-certificates", "etcd-server", "ipset", "iproute2", "iptables", "kmod", "nftables", "procps", "python3",
)  # fmt: skip
"""What the package depends on, and what its networks, policies and stores may need."""
_OMITTED = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*/*.gz", "/usr/share/lintian/*")
_OF_ONE_RUN = ("/var/lib/apt/lists", "/var/cache/apt", "/var/cache/debconf", "/var/log", "/etc/machine-id")
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_BLOCK = 1 << 20


def build(out: Path) -> list[Path]:
    """Needs mmdebstrap, and root or user namespaces. Raises SystemExit with what it says."""
    if shutil.which("mmdebstrap") is None:
        raise SystemExit("package: an image is made by mmdebstrap, which is missing: apt install mmdebstrap")
    made = out / f"weft-image_{tag()}_{architecture()}.tar"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="weft-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # mmdebstrap's user reads the package
        root = _root(deb.weft(folder), folder / "root.tar")
        write(root, made)
    return [made]


def tag() -> str:
    """The version with the characters that a tag may have."""
    return version().replace("+", "-")


def _root(package: Path, made: Path) -> Path:
    install = f"apt-get install --yes --no-install-recommends /{package.name}"
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in _OMITTED]
    words += [f"--customize-hook=copy-in {package} /", f'--customize-hook=chroot "$1" {install}']
    words += [f'--customize-hook=rm "$1/{package.name}"']
    words += [f"--customize-hook=rm -rf {' '.join(f'$1{path}' for path in _OF_ONE_RUN)}"]
    run(*words, SUITE, made, env={"SOURCE_DATE_EPOCH": str(epoch())})
    return made


def write(root: Path, made: Path) -> None:
    layer = root.with_suffix(".tar.gz")
    with root.open("rb") as plain, layer.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        shutil.copyfileobj(plain, packed, _BLOCK)
    config = _json(
        {
            "created": datetime.fromtimestamp(epoch(), UTC).isoformat().replace("+00:00", "Z"),
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": ["/usr/bin/weft"],
                "Cmd": ["agent", "run"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Labels": {"org.opencontainers.image.title": "weft", "org.opencontainers.image.version": version()},
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(root)}"]},
        }
    )
    layer_digest, config_digest = _sha256(layer), hashlib.sha256(config).hexdigest()
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _blob("application/vnd.oci.image.config.v1+json", config_digest, len(config)),
            "layers": [_blob(_LAYER, layer_digest, layer.stat().st_size)],
        }
    )
    manifest_digest = hashlib.sha256(manifest).hexdigest()
    entry = _blob("application/vnd.oci.image.manifest.v1+json", manifest_digest, len(manifest))
    names = {
        "org.opencontainers.image.ref.name": f"weft:{tag()}",
        "io.containerd.image.name": f"docker.io/library/weft:{tag()}",
    }
    old = {"Config": _place(config_digest), "RepoTags": [f"weft:{tag()}"], "Layers": [_place(layer_digest)]}
    with tarfile.open(made, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [{**entry, "annotations": names}]}))
        _add(tar, "manifest.json", _json([old]))
        _add(tar, _place(config_digest), config)
        _add(tar, _place(manifest_digest), manifest)
        with layer.open("rb") as packed_layer:
            tar.addfile(_entry(_place(layer_digest), layer.stat().st_size), packed_layer)


def _blob(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def _place(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_entry(name, len(content)), io.BytesIO(content))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, epoch()
    return entry


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
