"""Open vSwitch, one for each namespace. In user space (`datapath_type=netdev`) no kernel module is needed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.waiting import until

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


class Switch:
    """In the caller's namespace. `folder`: of its own: where its sockets, logs and database are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        places = "OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"
        self.environment = {**os.environ, **dict.fromkeys(places, str(folder))}
        self._pids: dict[str, int] = {}

    def start(self) -> None:
        if not (self.folder / "conf.db").exists():
            self._sh("ovsdb-tool", "create", str(self.folder / "conf.db"), SCHEMA)
        self._daemon("ovsdb-server", str(self.folder / "conf.db"), f"--remote=punix:{self.folder}/db.sock")
        self.vsctl("--no-wait", "init")
        self._daemon("ovs-vswitchd", f"unix:{self.folder}/db.sock")

    def stop(self, *names: str) -> None:
        """All of it, or these programs."""
        for name in names or tuple(self._pids):
            _end(self._pids.pop(name))

    def kill(self) -> None:
        """As with the power off: nothing is put in order."""
        for name in tuple(self._pids):
            _end(self._pids.pop(name), signal.SIGKILL)

    def freeze(self) -> None:
        """Its database takes connections and answers nothing."""
        os.kill(self._pids["ovsdb-server"], signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pids["ovsdb-server"], signal.SIGCONT)

    def vsctl(self, *words: str) -> str:
        return self._sh("ovs-vsctl", f"--db=unix:{self.folder}/db.sock", "--timeout=20", *words)

    def bridge(self, name: str, datapath: str = "netdev") -> None:
        self.vsctl("add-br", name, "--", "set", "Bridge", name, f"datapath_type={datapath}")

    def records(self) -> str:
        """What the database says of ports, whosever, in an order of its own."""
        parts = [self.vsctl("--format=csv", f"--columns={columns}", "list", table) for table, columns in _TABLES]
        return "\n".join(line for part in parts for line in sorted(part.splitlines()))

    def _daemon(self, name: str, *words: str) -> None:
        pidfile = self.folder / f"{name}.pid"
        pidfile.unlink(missing_ok=True)
        log = f"--log-file={self.folder}/{name}.log"
        self._sh(name, f"--pidfile={pidfile}", "--detach", "--no-chdir", "-vconsole:off", log, *words)
        until(pidfile.exists, 10, f"{name} to run")
        self._pids[name] = int(pidfile.read_text())

    def _sh(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


_TABLES = (
    ("Bridge", "name,ports,other_config,external_ids"),
    ("Port", "_uuid,name,tag,other_config,external_ids"),
    ("Interface", "name,type,external_ids,other_config"),
)


def _end(pid: int, how: signal.Signals = signal.SIGTERM) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
    until(lambda: not Path("/proc", str(pid)).exists() or _dead(pid), 20, f"process {pid} to end")


def _dead(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "State:\tZ" in Path("/proc", str(pid), "status").read_text()
    return True


@contextlib.contextmanager
def switch(folder: Path) -> Iterator[Switch]:
    """Running."""
    made = Switch(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
