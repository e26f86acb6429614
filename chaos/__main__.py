"""`python -m chaos [--minutes N | --steps N] [--seed S]`: a run, told step by step.

Exit status 1 when something did not hold."""

from __future__ import annotations

import argparse
import os
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos.faults import FAULTS
from chaos.run import Run
from chaos.world import World
from chaos.wrong import REQUESTS
from weft.base.errors import WeftError
from weft.lab import take_down


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="./dev chaos", description="Random faults against a lab; see docs/chaos.md.")
    words.add_argument("--minutes", type=float, default=5.0, help="begin no step after so many minutes (default: 5)")
    words.add_argument("--steps", type=int, help="instead: so many steps")
    words.add_argument("--seed", type=int, help="what is drawn; the same seed gives the same steps (default: any)")
    words.add_argument("--short", action="store_true", help="without the faults that take long")
    words.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="FAULT",
        help="leave this fault (or wrong request) out; may repeat",
    )
    words.add_argument("--only", action="append", default=[], metavar="FAULT", help="only these; may repeat")
    words.add_argument("--keep", type=Path, metavar="FOLDER", help="where what was seen of a failure goes")
    words.add_argument("--stay", action="store_true", help="leave the lab up when something did not hold")
    words.add_argument("--name", default="chaos", help="the lab's name (default: chaos)")
    words.add_argument("--faults", action="store_true", help="list the faults")
    return words


def main(words: Sequence[str]) -> int:
    options = parser().parse_args(words)
    known = [*(fault.name for fault in FAULTS), *REQUESTS]
    if options.faults:
        print("\n".join(fault.name for fault in FAULTS))
        return 0
    if unknown := [name for name in options.without + options.only if name not in known]:
        parser().error(f"no fault '{unknown[0]}': `./dev chaos --faults` lists those there are")
    if os.geteuid() != 0:
        print("chaos: it builds network namespaces: run it as root or with sudo", file=sys.stderr)
        return 1
    if options.only:
        options.without += [fault.name for fault in FAULTS if fault.name not in options.only]
    seed = random.SystemRandom().randrange(100_000) if options.seed is None else options.seed
    folder = options.keep or Path(tempfile.mkdtemp(prefix=f"weft-chaos-{seed}-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that it takes the lab down first
    try:
        return _run(options, seed, folder)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except WeftError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, seed: int, folder: Path) -> int:
    say = _sayer(folder / "steps")
    say(f"seed {seed}; what is seen of a failure goes to {folder}")
    held, world = True, World.up(options.name, folder)
    try:
        run = Run(world, seed, folder, say)
        end = time.monotonic() + options.minutes * 60
        enough = (
            (lambda done: done >= options.steps)
            if options.steps is not None
            else (lambda done: time.monotonic() >= end)
        )
        held = run.go(enough, short=options.short, without=options.without)
    finally:
        if held or not options.stay:
            take_down(options.name)
    for line in (*run.account.table(), *run.violations):
        say(line)
    say(f"{run.steps_done} steps: " + ("everything held" if held else "something did not hold"))
    if not held:
        again = [*_again(options), f"--seed {seed}", f"--steps {run.steps_done}"]
        say(f"evidence: {folder}\nagain: ./dev chaos {' '.join(again)}")
    return 0 if held else 1


def _again(options: argparse.Namespace) -> list[str]:
    short = ["--short"] if options.short else []
    only = [f"--only {shlex.quote(name)}" for name in options.only]
    left = [name for name in options.without if not (only and name in {fault.name for fault in FAULTS})]
    return short + only + [f"--without {shlex.quote(name)}" for name in left]


def _sayer(path: Path) -> Callable[[str], None]:
    """Prints, with the time since now, and keeps it in the file as well."""
    start = time.monotonic()

    def say(line: str) -> None:
        text = f"[{time.monotonic() - start:7.1f}] {line}"
        print(text, flush=True)
        with path.open("a") as file:
            file.write(text + "\n")

    return say


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
