"""Network namespaces: entered by a thread of their own, never by the process.

setns(2) moves one thread. Each call here starts a thread, moves it, does the work in it and lets it end there, so none
ever has to find its way back. A socket stays in the namespace it was opened in, and keeps that namespace alive.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from weft.base.errors import Conflict, Denied, Failed, NotFound, WeftError
from weft.kernel.plumbing import uapi as u

T = TypeVar("T")

NAMED = (Path("/run/netns"), Path("/run/docker/netns"))
"""Where namespaces have names: ip-netns(8), Docker."""

OWN = "/proc/thread-self/ns/net"
_GROUPS = Path("/sys/fs/cgroup")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc().setns(fd, u.CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def open_path(path: str) -> int:
    """A file descriptor of the namespace at `path`, "" for the caller's own. Raises NotFound, Denied.

    Paths come from users and engines. To open a FIFO waits for its writer, and to open a device may do anything. So the
    file is only pointed at (O_PATH, open(2)) until it is known to be a namespace."""
    try:
        found = os.open(path or OWN, os.O_PATH | os.O_CLOEXEC)
    except ValueError:  # a NUL within
        raise NotFound(f"no network namespace {path}: that is no path") from None
    except OSError as error:
        raise explain(path, error) from None
    try:
        if stat.S_ISDIR(os.fstat(found).st_mode):
            raise NotFound(f"{path} is a directory, no network namespace: name one that is in it")
        if _filesystem(found) != u.NSFS_MAGIC:
            raise explain(path, OSError(errno.EINVAL, "")) from None
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise explain(path, error) from None
    finally:
        os.close(found)


def _filesystem(fd: int) -> int:
    """The kind of file system that a file is on: f_type, the first field of struct statfs (statfs(2)). Raises OSError."""
    buffer = ctypes.create_string_buffer(256)
    if _libc().fstatfs(fd, buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)


def enter(path: str) -> None:
    """Move the calling thread for good. Raises NotFound, Denied."""
    fd = open_path(path)
    try:
        _setns(fd)
    except OSError as error:
        raise explain(path, error) from None
    finally:
        os.close(fd)


def explain(path: str, error: OSError) -> WeftError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR | errno.ESRCH | errno.ENODEV | errno.ENXIO:
            return NotFound(f"no network namespace {path}: its container may have ended")
        case errno.EINVAL:
            return NotFound(f"{path} is not a network namespace (any more)")
        case errno.EPERM | errno.EACCES:
            return Denied(f"no permission to enter network namespace {path}: root, or CAP_SYS_ADMIN in it, is needed")
        case _:
            return Failed(f"network namespace {path}: {error.strerror}")


def call(path: str, work: Callable[[], T]) -> T:
    """What `work()` returns or raises when done inside the namespace; "" is the caller's own and needs no thread."""
    if not path:
        return work()

    def inside() -> T:
        enter(path)
        return work()

    return in_thread(inside)


def call_new(work: Callable[[], T]) -> T:
    """As `call`, in a new namespace that ends with the call. Raises Denied."""

    def inside() -> T:
        if _libc().unshare(u.CLONE_NEWNET):
            raise Denied(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}; run as root")
        return work()

    return in_thread(inside)


def in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def open_all(paths: Iterable[str], opener: Callable[[], T]) -> dict[str, T | WeftError]:
    """`opener()` called inside each of these namespaces in turn, by one thread; or why it could not be."""
    some = tuple(paths)
    return dict(zip(some, each([(path, opener) for path in some]), strict=True))


def each(work: Sequence[tuple[str, Callable[[], T]]]) -> list[T | WeftError]:
    """What each piece of work returns when it is done inside its namespace, one after the other by one thread; or why it could
    not be done."""

    def one(path: str, do: Callable[[], T]) -> T | WeftError:
        try:
            enter(path)
            return do()
        except WeftError as error:
            return error
        except OSError as error:
            return explain(path, error)

    return in_thread(lambda: [one(path, do) for path, do in work])


def cookie(path: str) -> int:
    """A number that no other network namespace of this boot has, or had (SO_NETNS_COOKIE, since Linux 5.14)."""

    def ask() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            return cookie_of(sock)

    return call(path, ask)


def cookie_of(sock: socket.socket) -> int:
    """Of the namespace the socket was opened in."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, u.SO_NETNS_COOKIE, 8), sys.byteorder)


def exists(path: str) -> bool:
    """Whether `path` opens a network namespace: there, and not an empty file left where one was mounted."""
    try:
        fd = open_path(path)
    except NotFound:
        return False
    try:
        # linux/nsfs.h: NS_GET_NSTYPE answers with the CLONE_ flag, and fails for what is not a namespace.
        return bool(_libc().ioctl(fd, 0xB703) == u.CLONE_NEWNET)
    finally:
        os.close(fd)


def make(path: str, prepare: Callable[[], None]) -> None:
    """A new namespace with a name, as `ip netns add` makes it. `prepare` is called inside before it has the name: nobody
    finds it unprepared. Raises Conflict, Denied."""
    folder = Path(path).parent
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    _share(str(folder))
    if exists(path):
        raise Conflict(f"a network namespace {path} exists: rename or remove it")
    Path(path).touch(mode=0o444)  # one that is left of an interrupted call is as good

    def inside() -> None:
        prepare()
        _mount(OWN, path, "none", u.MS_BIND)

    call_new(inside)


def unmake(path: str) -> None:
    """As `ip netns del`: it ends with the last who uses it. Raises Failed."""
    if _libc().umount2(path.encode(), u.MNT_DETACH) and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise Failed(f"network namespace {path} is not removed: {os.strerror(ctypes.get_errno())}")
    Path(path).unlink(missing_ok=True)


def surround(files: Iterable[tuple[str, str]]) -> None:
    """Gives the calling thread mounts of its own, which nobody else sees: a /sys that shows the network namespace which it is
    in, with the control groups kept, and each of these files in place of another. Raises Failed."""
    if _libc().unshare(u.CLONE_NEWNS):
        raise Failed(f"cannot have mounts of its own: {os.strerror(ctypes.get_errno())}")
    _mount("", "/", "none", u.MS_SLAVE | u.MS_REC)
    groups = os.open(_GROUPS, os.O_PATH | os.O_CLOEXEC) if _GROUPS.is_dir() else None
    _mount("sysfs", "/sys", "sysfs", 0)
    if groups is not None:
        _mount(f"/proc/self/fd/{groups}", str(_GROUPS), "none", u.MS_BIND | u.MS_REC)
        os.close(groups)
    for source, target in files:
        _mount(source, target, "none", u.MS_BIND)


def _share(folder: str) -> None:
    """Names are to be seen, and to end, in all mount namespaces (ip-netns(8) does the same)."""
    try:
        _mount("", folder, "none", u.MS_SHARED | u.MS_REC)
    except Failed:  # it is no mount point yet
        _mount(folder, folder, "none", u.MS_BIND | u.MS_REC)
        _mount("", folder, "none", u.MS_SHARED | u.MS_REC)


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    if _libc().mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None):
        raise Failed(f"cannot mount {target}: {os.strerror(ctypes.get_errno())}")


def named() -> list[str]:
    """The paths of all namespaces that have a name, sorted."""
    found = [str(entry) for folder in NAMED if folder.is_dir() for entry in folder.iterdir()]
    return sorted(path for path in found if exists(path))
