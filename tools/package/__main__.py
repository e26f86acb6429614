"""`python -m tools.package [deb] [wheel] [image] [--out DIR]`: prints each file that it made, and its size."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tools.package import deb, image, wheel
from tools.package.source import ROOT

_KINDS: dict[str, Callable[[Path], list[Path]]] = {"deb": deb.build, "wheel": wheel.build, "image": image.build}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev package", description="Builds what Weft is installed from.")
    parser.add_argument("what", nargs="*", metavar="|".join(_KINDS), help="Else all of them.")
    parser.add_argument("--out", type=Path, metavar="DIR", default=ROOT / "dist", help="Else dist/.")
    given = parser.parse_args()
    if unknown := [what for what in given.what if what not in _KINDS]:
        parser.error(f"there is no '{unknown[0]}' to build; there are: {', '.join(_KINDS)}")
    for kind in given.what or _KINDS:
        for made in _KINDS[kind](given.out):
            sys.stdout.write(f"{made}  {made.stat().st_size / 1e6:.1f} MB\n")
    return 0


sys.exit(main())
