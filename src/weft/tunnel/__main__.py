"""`python -m weft.tunnel FOLDER [VERSION]`: the pump of all tunnels whose tables are in this folder, in the foreground.

The version is only there to be seen in its command line, by which another version of Weft knows that it is not its own."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from weft.tunnel.manager import DIRECTIONS, Manager
from weft.tunnel.receiving import Receiving
from weft.tunnel.sending import Sending


def main(arguments: list[str]) -> None:
    """With the word `send` or `receive`, what such a process is given by the first one (`weft.tunnel.manager`)."""
    if arguments[0] not in DIRECTIONS:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # until a process that is started listens to it
        Manager(Path(arguments[0])).run()
    direction, path, parent, tun, sock = arguments
    kind = Sending if direction == "send" else Receiving
    worker = kind(Path(path), int(tun), socket.socket(fileno=int(sock)))
    worker.obey(int(parent))
    try:
        worker.run()
    except OSError as error:
        sys.exit(f"{Path(path).name}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
