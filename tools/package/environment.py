"""The Python environment in the package: a virtual environment for each Python of a Debian release, in one tree.

Modules in Python are the same for all; compiled ones bear their Python's version in the name (PEP 3149), so that both lie
side by side. It is built with the locked wheels only, and for Pythons that need not be installed here.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

from tools.package.source import BUILD, ROOT, run

PYTHONS = ("3.11", "3.13")
"""Debian 12's and Debian 13's."""
HOME = Path("usr/lib/weft")
SITE = HOME / f"lib/python{PYTHONS[0]}/site-packages"
_CONFIGURATION = "home = /usr/bin\ninclude-system-site-packages = false\n"
_UNNEEDED = ("bin", "share", "include")
"""Commands and headers of packages, which nothing here uses."""


def lay(root: Path, wheel: Path) -> None:
    """The environment with Weft in `wheel` and what it always needs, below `root`."""
    site = root / SITE
    shutil.copytree(dependencies("package"), site, symlinks=True)
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    for record in site.glob("*.dist-info/RECORD"):
        record.unlink()
    home = root / HOME
    (home / "pyvenv.cfg").write_text(_CONFIGURATION)
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to("/usr/bin/python3")
    for python in PYTHONS[1:]:
        (home / f"lib/python{python}").symlink_to(f"python{PYTHONS[0]}")
    # Driver udp does without numpy and is faster with it; it is larger than all the rest, and Debian has it.
    (site / "numpy").symlink_to("/usr/lib/python3/dist-packages/numpy")


def lay_clouds(root: Path) -> None:
    """What the drivers for clouds need besides, below `root`: a package of its own."""
    base, more = dependencies("package"), dependencies("clouds")
    for file in sorted(path for path in more.rglob("*") if not path.is_dir()):
        name = file.relative_to(more)
        if not (base / name).exists():
            (root / SITE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, root / SITE / name)


def dependencies(lock: str) -> Path:
    """A folder with all that requirements/LOCK.txt names, for all Pythons. It is kept until the lock changes."""
    requirements = ROOT / f"requirements/{lock}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    made = BUILD / f"{lock}-{digest}"
    if made.exists():
        return made
    BUILD.mkdir(parents=True, exist_ok=True)
    for old in BUILD.glob(f"{lock}-*"):
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="new-") as folder:
        trees = [_installed(requirements, python, Path(folder) / python) for python in PYTHONS]
        for tree in trees[1:]:
            _merge(tree, trees[0])
        trees[0].rename(made)
    return made


def _installed(requirements: Path, python: str, target: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet")
    wheels = ("--only-binary", ":all:", "--require-hashes", "--no-deps", "--no-compile", "--python-version", python)
    run(*pip, *wheels, "--target", target, "-r", requirements)
    for name in _UNNEEDED:
        shutil.rmtree(target / name, ignore_errors=True)
    for record in target.glob("*.dist-info/RECORD"):  # names compiled files, and differs by them
        record.unlink()
    return target


def _merge(more: Path, into: Path) -> None:
    """Adds what is in `more` only. Raises SystemExit where a module differs: then one tree cannot serve both."""
    for file in sorted(path for path in more.rglob("*") if not path.is_dir()):
        name = file.relative_to(more)
        there = into / name
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, there)
        elif not filecmp.cmp(file, there, shallow=False) and ".dist-info" not in name.parts[0]:
            raise SystemExit(f"package: {name} is another for Python {more.name} than for {into.name}")
