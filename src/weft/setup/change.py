"""Files and units are changed here, and put back in reverse order where something fails afterwards."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from weft.base.errors import Denied, WeftError
from weft.setup import systemd


class Changes:
    """with Changes() as changes: what was done in there is put back if it is left by an exception."""

    def __init__(self) -> None:
        self._back: list[Callable[[], object]] = []

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        for back in reversed(self._back):
            with contextlib.suppress(OSError, WeftError):  # what can be put back is
                back()

    def folder(self, path: Path) -> None:
        """Raises Denied."""
        with _told(path):
            if not path.is_dir():
                path.mkdir(mode=0o755, parents=True)
                self._back.append(path.rmdir)

    def write(self, path: Path, text: str, mode: int) -> None:
        """At once as a whole, so that nobody ever reads half of it. A file that is there keeps its owner, and its mode if
        that is closer. Raises Denied."""
        with _told(path):
            former, stat = (path.read_bytes(), path.stat()) if path.exists() else (None, None)
            self._back.append(lambda: _put(path, former, stat))
            _put(path, text.encode(), stat, mode)

    def move_away(self, path: Path) -> None:
        """Raises Denied."""
        with _told(path):
            former, stat = path.read_bytes(), path.stat()
            self._back.append(lambda: _put(path, former, stat))
            path.unlink()

    def unit(self, name: str, *, restart: bool) -> None:
        """It starts with the host, and now. Raises Failed, with why it did not start."""
        before = systemd.state(name)
        if not before.enabled:
            self._back.append(lambda: systemd.disable(name))
            systemd.enable(name)
        if not before.active:
            self._back.append(lambda: systemd.stop(name))
            systemd.start(name)
        elif restart:
            self._back.insert(0, lambda: systemd.restart(name))  # the last: with the former files
            systemd.restart(name)


def _put(path: Path, content: bytes | None, stat: os.stat_result | None, mode: int | None = None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if stat is not None:
        os.chown(fresh, stat.st_uid, stat.st_gid)
        mode = stat.st_mode & 0o777 & (mode if mode is not None and mode & 0o077 == 0 else 0o777)
    fresh.chmod(0o600 if mode is None else mode)
    fresh.replace(path)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Denied(f"{path} cannot be written: {error.strerror}: run as root") from None
