"""The wheel: Weft alone, for who has a Python environment of their own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tools.package.source import ROOT, epoch, run, version
from weft import __version__

_PACKED = ("pyproject.toml", "README.md", "LICENSE", "src")


def build(out: Path) -> list[Path]:
    """From a copy, which says its whole version and leaves nothing in this checkout."""
    pip = (sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-input", "--quiet")
    alone = ("--no-deps", "--no-build-isolation", "--no-index")
    with tempfile.TemporaryDirectory(prefix="weft-wheel-") as folder:
        copy = Path(folder) / "weft"
        copy.mkdir()
        for name in _PACKED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(ROOT / name, copy)
        stated = copy / "src/weft/__init__.py"
        stated.write_text(stated.read_text().replace(f'"{__version__}"', f'"{version()}"'))
        run(*pip, *alone, "--wheel-dir", Path(folder) / "made", copy, env={"SOURCE_DATE_EPOCH": str(epoch())})
        (made,) = (Path(folder) / "made").glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(made, out))]
