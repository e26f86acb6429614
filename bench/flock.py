"""One BIRD for each configuration in a directory: `python -m bench.flock DIRECTORY`, inside a lab's host.

Says "ready" when they are started, prints the seconds of CPU that they have used for each line on its standard input,
and ends them when it is told to end.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bench import labs


def words(directory: Path, name: str) -> list[str]:
    """A BIRD as a command: NAME.conf, NAME.ctl, NAME.pid."""
    path = directory / name
    return ["bird", "-f", "-c", f"{path}.conf", "-s", f"{path}.ctl", "-P", f"{path}.pid"]


def main(directory: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        birds = []
        for conf in sorted(directory.glob("*.conf")):
            birds.append(stack.enter_context(subprocess.Popen(words(directory, conf.stem))))
            stack.callback(birds[-1].terminate)
        print("ready", flush=True)
        for _ in sys.stdin:
            print(sum(labs.cpu(bird.pid) for bird in birds), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
