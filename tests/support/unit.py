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
import subprocess
import sys
from pathlib import Path

NEEDLESS = {
    "Type", "ExecStart", "ExecReload", "Restart", "RestartSec", "KillMode", "TimeoutStopSec", "ConfigurationDirectory",
    "StateDirectory", "RuntimeDirectory", "RuntimeDirectoryPreserve", "OOMScoreAdjust",
}  # fmt: skip
"""They restrict nothing."""
UNTRIED = {"LockPersonality", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures"}
"""They forbid personality(2), real-time scheduling, set-uid bits and foreign system calls, none of which Weft uses."""
TRIED = {
    "CapabilityBoundingSet", "RestrictAddressFamilies", "NoNewPrivileges", "LimitNOFILE", "MemoryDenyWriteExecute",
    "ProtectHostname", "RestrictNamespaces", "SystemCallFilter", "SystemCallErrorNumber",
}  # fmt: skip
_SOCKET = {"x86_64": 41, "aarch64": 198}
_NAMESPACES = {
    "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000,
    "mnt": 0x00020000,
}  # fmt: skip
_CLONE_NEWUTS, _PR_SET_MDWE = 0x04000000, 65
_ALLOW, _EPERM, _ENOSYS, _MASKED_EQ = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38, 7


def settings(path: Path) -> dict[str, str]:
    """Of the section [Service]. A restriction that nothing here applies is an error, not a hole in the test."""
    section = path.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("#")]
    found = dict[str, str]()
    for name, value in (line.split("=", 1) for line in lines):
        found[name] = f"{found[name]}\n{value}" if name in found else value
    unknown = found.keys() - NEEDLESS - UNTRIED - TRIED
    assert not unknown, f"{path}: teach tests/support/unit.py what {sorted(unknown)} means"
    return found


def main() -> None:
    path, dashes, *command = sys.argv[1:]
    assert dashes == "--"
    found = settings(Path(path))
    files = int(found["LimitNOFILE"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, min(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    assert (found["ProtectHostname"], found["MemoryDenyWriteExecute"]) == ("yes", "yes")
    _check(_libc.unshare(_CLONE_NEWUTS))
    _check(_libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0))
    _restrict_families(found["RestrictAddressFamilies"].split())
    _filter_calls(_denied(found["SystemCallFilter"].splitlines()), set(found["RestrictNamespaces"].split()))
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
    # PR_SET_SECCOMP, SECCOMP_MODE_FILTER; root may do without no_new_privs.
    _check(_libc.prctl(22, 2, ctypes.byref(filter_), 0, 0))


def _denied(lines: list[str]) -> set[str]:
    """The system calls that SystemCallFilter= takes away: the first line begins with ~, and others give some back."""
    assert lines[0].startswith("~") and not any(line.startswith("~") for line in lines[1:])
    return _calls(lines[0][1:].split()) - _calls([word for line in lines[1:] for word in line.split()])


def _calls(names: list[str]) -> set[str]:
    """With groups (`@clock`) resolved, as this machine's systemd knows them."""
    found = set[str]()
    for name in names:
        if name.startswith("@"):
            said = subprocess.run(
                ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
            )
            inside = [line.strip() for line in said.stdout.splitlines()[1:]]
            found |= _calls([word for word in inside if word and not word.startswith("#")])
        else:
            found.add(name)
    return found


def _filter_calls(denied: set[str], namespaces: set[str]) -> None:
    """By libseccomp, as systemd does (systemd.exec(5), src/shared/seccomp-util.c)."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ALLOW))

    def refuse(action: int, name: str, *compared: _Compared) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else this machine has no such call
            arguments = (_Compared * len(compared))(*compared)
            _check(library.seccomp_rule_add_array(context, action, number, len(compared), arguments))

    for name in denied:
        refuse(_EPERM, name)
    refuse(_ENOSYS, "clone3")
    for name in _NAMESPACES.keys() - namespaces:
        bit = _NAMESPACES[name]
        for call, argument in (("unshare", 0), ("clone", 0), ("setns", 1)):
            refuse(_EPERM, call, _Compared(argument, _MASKED_EQ, bit, bit))
    _check(library.seccomp_load(context))


class _Compared(ctypes.Structure):
    """struct scmp_arg_cmp (seccomp.h)."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno() or -result, "a limit of the unit cannot be set")


if __name__ == "__main__":
    main()
