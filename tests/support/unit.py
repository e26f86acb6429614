"""What systemd does to a service before it starts it, without systemd: as a program, it applies a unit's restrictions to
itself and becomes the command.

    python unit.py FILE.service -- COMMAND …
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import struct
import sys
from pathlib import Path

NEEDLESS = {
    "Type", "ExecStart", "ExecReload", "Restart", "RestartSec", "KillMode", "TimeoutStopSec", "ConfigurationDirectory",
    "StateDirectory", "RuntimeDirectory", "RuntimeDirectoryPreserve", "OOMScoreAdjust",
}  # fmt: skip
"""They restrict nothing."""
UNTRIED = {"LockPersonality", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures"}
"""They forbid personality(2), real-time scheduling, set-uid bits and foreign system calls, none of which Weft uses."""
TRIED = {"CapabilityBoundingSet", "RestrictAddressFamilies", "NoNewPrivileges", "LimitNOFILE"}
_SOCKET = {"x86_64": 41, "aarch64": 198}


def settings(path: Path) -> dict[str, str]:
    """Of the section [Service]. A restriction that nothing here applies is an error, not a hole in the test."""
    section = path.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("#")]
    found = dict(line.split("=", 1) for line in lines)
    unknown = found.keys() - NEEDLESS - UNTRIED - TRIED
    assert not unknown, f"{path}: teach tests/support/unit.py what {sorted(unknown)} means"
    return found


def main() -> None:
    path, dashes, *command = sys.argv[1:]
    assert dashes == "--"
    found = settings(Path(path))
    files = int(found["LimitNOFILE"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, min(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    _restrict_families(found["RestrictAddressFamilies"].split())
    kept = ",".join(f"+{name.lower().removeprefix('cap_')}" for name in found["CapabilityBoundingSet"].split())
    bounds = ["--bounding-set", f"-all,{kept}", "--inh-caps", "-all", "--ambient-caps", "-all"]
    os.execvp("setpriv", ["setpriv", *bounds, "--no-new-privs", "--", *command])


def _restrict_families(names: list[str]) -> None:
    """By a seccomp filter on socket(2), as systemd does (seccomp(2), linux/filter.h)."""
    allowed = [int(getattr(socket, name)) for name in names]
    load, equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 97  # EAFNOSUPPORT
    last = len(allowed)
    program = [(load, 0, 0, 0), (equal, 0, last + 2, _SOCKET[platform.machine()]), (load, 0, 0, 16)]
    program += [(equal, last - i, 0, family) for i, family in enumerate(allowed)]
    program += [(give, 0, 0, refuse), (give, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    filter_ = ctypes.create_string_buffer(struct.pack("=H6xQ", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    # PR_SET_SECCOMP, SECCOMP_MODE_FILTER; root may do without no_new_privs.
    if libc.prctl(22, 2, ctypes.byref(filter_), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    main()
