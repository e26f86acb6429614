"""`python -m tools.pictures`: the pictures of terminals in README, docs/assets/demo.svg and trace.svg, of real runs. It needs
root and a minute or two, and uses labs in a folder of its own.

Nothing in a picture is written by hand but which part of a run it shows. Fonts are the reader's: the pictures load nothing.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ASSETS = Path(__file__).parents[1] / "docs/assets"
COLUMNS = 108
THEME = TerminalTheme(
    (30, 33, 41),
    (216, 220, 230),
    [
        (30, 33, 41),
        (242, 119, 122),
        (142, 200, 120),
        (240, 190, 100),
        (110, 160, 245),
        (200, 150, 230),
        (90, 200, 200),
        (216, 220, 230),
    ],
)
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""
PROGRESS = re.compile(r"\x1b\[\?25l.*?\x1b\[\?25h\r?\x1b\[1A\x1b\[2K", re.DOTALL)
"""What a command shows while one waits, and takes away again."""
BROKEN = "table inet site { chain incoming { type filter hook input priority 0; udp dport 8472 drop; }; }"
"""Someone's firewall that forgets the tunnel."""


class Lab:
    """Labs below `base`; each command runs in a terminal."""

    def __init__(self, base: str) -> None:
        self._environment = {**os.environ, "WEFT_LAB_BASE": base, "TERM": "xterm-256color"}

    def run(self, *words: str) -> str:
        """What `python -m WORDS` prints in a terminal, with its colours. Its exit status is its own affair."""
        seen, used = pty.openpty()
        fcntl.ioctl(used, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        command = [sys.executable, "-m", *words]
        with subprocess.Popen(command, env=self._environment, stdin=used, stdout=used, stderr=used):
            os.close(used)
            said = b"".join(_read(seen))
        os.close(seen)
        return PROGRESS.sub("", said.decode().replace("\r\n", "\n"))

    def weft(self, words: str) -> str:
        return self.run("weft", "lab", *words.split())

    def on(self, host: str, words: str, *last: str) -> str:
        return self.run("weft", "lab", "exec", host, "--", *words.split(), *last)


def _read(terminal: int) -> list[bytes]:
    """All of it: reading fails when the last process that could write is gone (EIO)."""
    found = []
    while True:
        try:
            found.append(os.read(terminal, 65536))
        except OSError:
            return found
        if not found[-1]:
            return found


def demo(lab: Lab) -> str:
    """The beginning of `./dev demo`, and one of its data paths."""
    parts = [part.strip("\n") for part in re.split(r"\n(?=\n\x1b\[1m)", lab.run("weft.lab.demo"))]
    chosen = [part for part in parts if Text.from_ansi(part).plain.startswith(("Four hosts", "vxlan:"))]
    if len(chosen) != 2:
        raise SystemExit(f"pictures: the demo did not go as it should have:\n{parts[-1]}")
    return "$ ./dev demo\n" + "\n\x1b[2m…\x1b[0m\n".join([*chosen, ""])


def trace(lab: Lab) -> str:
    """A packet that someone's firewall drops on another host."""
    lab.weft("up")
    try:
        lab.on("node-1", "weft network create blue --driver vxlan --subnet 10.20.0.0/16")
        for host, name in (("node-1", "web"), ("node-2", "db")):
            lab.weft(f"run {host} {name} --network blue")
        lab.on("node-2", "nft", BROKEN)
        return "# weft trace web db\n" + lab.on("node-1", "weft trace web db")
    finally:
        lab.weft("down")


def draw(name: str, title: str, said: str) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(said.rstrip("\n")))
    picture = console.export_svg(title=title, theme=THEME, code_format=FORMAT, unique_id=name)
    (ASSETS / f"{name}.svg").write_text("".join(f"{line.rstrip()}\n" for line in picture.splitlines()))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pictures-", dir="/var/tmp") as base:
        lab = Lab(base)
        draw("trace", "weft trace", trace(lab))
        draw("demo", "./dev demo", demo(lab))


if __name__ == "__main__":
    main()
