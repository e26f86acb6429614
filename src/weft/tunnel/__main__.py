"""`python -m weft.tunnel FOLDER [VERSION]`: the pump of all tunnels whose tables are in this folder, in the foreground.

The version is only there to be seen in its command line, by which another version of Weft knows that it is not its own."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from weft.tunnel import frames_in, frames_out, packets
from weft.tunnel.carried import FRAMES, PACKETS
from weft.tunnel.manager import Manager
from weft.tunnel.worker import Worker

_OF_PACKETS = dict(zip(PACKETS, (packets.Outward, packets.Inward), strict=True))
_OF_FRAMES = dict(zip(FRAMES, (frames_out.Outward, frames_in.Inward), strict=True))


def main(arguments: list[str]) -> None:
    """With the word of a direction, what such a process is given by the first one (`weft.tunnel.manager`)."""
    word, *given = arguments
    if word not in (*PACKETS, *FRAMES):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # until a process that is started listens to it
        Manager(Path(word)).run()
    path, parent, *numbers = given
    worker = _worker(word, Path(path), [int(fd) for fd in numbers])
    worker.obey(int(parent))
    try:
        worker.run()
    except OSError as error:
        sys.exit(f"{Path(path).name}: {error.strerror}")


def _worker(word: str, path: Path, fds: list[int]) -> Worker:
    if word in PACKETS:
        tun, sock = fds
        return _OF_PACKETS[word](path, tun, socket.socket(fileno=sock))
    return _OF_FRAMES[word](path.parent, *(socket.socket(fileno=fd) for fd in fds))


if __name__ == "__main__":
    main(sys.argv[1:])
