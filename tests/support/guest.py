"""Tests that run in a virtual machine with Debian's own kernel (virtme-ng), over this machine's root file system.

One machine is booted for all that were chosen; a pytest in it runs them, with this module as its plugin, and writes its
reports down, which the pytest outside then tells as its own. The machine is emulated, also where there is a /dev/kvm: on
hosts that are virtual machines themselves that may hang. So it takes half a minute to boot, and is several times slower.

Its root file system asks this machine for every file each time it is opened, which an emulated processor spends most of a
test on. Programs and this checkout do not change meanwhile: they are mounted once more, to be read and remembered.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

INSIDE = "WEFT_TESTS_INSIDE"
"""Environment variable: the folder for reports. Set in the machine only."""

_ROOT = Path(__file__).parents[2]
_BOOT = 240
"""Seconds until the first test begins, at most; and for each test that does not say it takes longer."""
EACH = 300
_SHARE = "remembered"


def inside() -> bool:
    return INSIDE in os.environ


def kernel() -> Path | None:
    """The newest of Debian's kernels, but only with its modules."""
    images = sorted(Path("/boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    return next((i for i in reversed(images) if Path("/lib/modules", i.name.removeprefix("vmlinuz-")).is_dir()), None)


def missing() -> str:
    """What keeps a machine from being booted here, or ""."""
    if os.geteuid() != 0:
        return "needs root: its namespaces are made by root in the machine, too"
    if kernel() is None:
        return "no kernel of Debian's in /boot: ./dev setup vm"
    if not Path("/usr/bin/qemu-system-x86_64").exists():
        return "no qemu-system-x86_64: ./dev setup vm"
    return "" if _tool().exists() else f"no {_tool()}: ./dev setup vm"


def _tool() -> Path:
    return Path(sys.prefix, "bin", "vng")


def run(nodes: Iterable[str], seconds: float) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Reports by node id, as pytest makes them serializable, and what was printed. `seconds`: that the tests may take. Raises
    TimeoutExpired."""
    with tempfile.TemporaryDirectory(prefix="weft-vm-") as name:
        folder = Path(name)
        (folder / "nodes").write_text("".join(f"{node}\n" for node in nodes))
        said = boot(_tests(folder), folder, _BOOT + seconds)
        return _reports(folder), said


def boot(line: str, folder: Path, seconds: float, *, cpus: int = 2, qemu: str = "") -> str:
    """A machine that ends with this line of its shell, which runs in this checkout and may write to `folder`: what was printed.
    `qemu`: further options of QEMU's. Raises TimeoutExpired."""
    done = subprocess.run(
        _command(line, folder, cpus, qemu),
        cwd=_ROOT,
        env={**os.environ, "PATH": f"{_tool().parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
    )
    printed = folder / "printed"
    return done.stdout + (printed.read_text(errors="replace") if printed.exists() else "")


def _tests(folder: Path) -> str:
    words = [sys.executable, "-m", "pytest", "-p", "support.guest", "-p", "no:cacheprovider", "-n", "0"]
    words += ["-o", f"timeout={EACH}", "-m", "figures or not figures", f"@{folder}/nodes"]  # whatever was chosen
    path = f"{_ROOT}/src:{_ROOT}/tests"
    return f"env PYTHONPATH={path} PYTHONDONTWRITEBYTECODE=1 {INSIDE}={folder} {shlex.join(words)}"


def _command(line: str, folder: Path, cpus: int, qemu: str) -> list[str]:
    # Memory is taken as it is used: a Docker on a tmpfs uses all of it. AppArmor would ask for a program that is not there.
    size = ["--cpus", str(cpus), "--memory", "4G", "--append", "apparmor=0"]
    share = f"-fsdev local,id={_SHARE},path=/,security_model=none,multidevs=remap"
    share += f" -device virtio-9p-pci,fsdev={_SHARE},mount_tag={_SHARE} {qemu}"
    options = [*size, f"--qemu-opts={share}", f"--rwdir={folder}"]
    inside = f"({_remembered()} && cd {shlex.quote(str(_ROOT))} && {line}) >{folder}/printed 2>&1"
    return [str(_tool()), "-r", str(kernel()), "--disable-kvm", "--rw", *options, "--", inside]


def _remembered() -> str:
    """A line for the machine's shell. What is written to `folder` goes to this machine at once, as before."""
    seen = f"/run/{_SHARE}"
    how = "ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose"
    again = [f"mount --bind {shlex.quote(f'{seen}{path}')} {shlex.quote(path)}" for path in ("/usr", str(_ROOT))]
    return " && ".join([f"mkdir {seen}", f"mount -t 9p -o {how} {_SHARE} {seen}", *again])


def _reports(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    file = folder / "reports"
    for line in file.read_text().splitlines() if file.exists() else ():
        node, report = json.loads(line)
        found.setdefault(node, []).append(report)
    return found


# -- as a plugin, in the machine ---------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    if inside():
        config.pluginmanager.register(_Teller(config, Path(os.environ[INSIDE])), "weft-teller")


class _Teller:
    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config, self._file = config, folder / "reports"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._file.open("a") as file:
            file.write(json.dumps([report.nodeid, data]) + "\n")
