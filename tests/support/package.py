"""The packages of this checkout, built once and kept until what is in them changes: `build/package/tests`."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_KEPT = ROOT / "build/package/tests"
_INGREDIENTS = ("src", "packaging", "tools/package", "requirements", "pyproject.toml", "README.md", "CHANGELOG.md")


@dataclass(frozen=True)
class Packages:
    weft: Path
    clouds: Path
    wheel: Path


def built() -> Packages:
    """Of these sources. Workers that ask at the same time wait for the one that builds."""
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = _KEPT / _fingerprint()
        if not made.exists():
            for old in _KEPT.glob("*/"):
                shutil.rmtree(old)
            _build(made)
    return Packages(_only(made, "weft_*.deb"), _only(made, "weft-clouds_*.deb"), _only(made, "weft-*.whl"))


def as_version(package: Path, version: str, folder: Path) -> Path:
    """The same package, as another version: what an upgrade or a downgrade finds."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    (old,) = (line for line in control.read_text().splitlines() if line.startswith("Version: "))
    control.write_text(control.read_text().replace(old.split()[1], version))
    for init in tree.glob("usr/lib/weft/lib/python3.11/site-packages/weft/__init__.py"):
        lines = init.read_text().splitlines()
        init.write_text("\n".join(f'__version__ = "{version}"' if "__version__" in line else line for line in lines))
    made = folder / f"{package.name.split('_')[0]}_{version}.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, made], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return made


def _build(made: Path) -> None:
    new = made.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    command = [sys.executable, "-m", "tools.package", "deb", "wheel", "--out", str(new)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    new.rename(made)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in _INGREDIENTS:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts and ".egg-info" not in str(file):
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found
