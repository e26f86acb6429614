"""The files by which other programs on a host know its subnet: flannel's /run/flannel/subnet.env, and Docker's options as its
script mk-docker-opts.sh makes them of that.

They are written where the agent's settings say so. A file is ours if it says what was written here last, which is kept in the
state directory: there is no place for a mark in it. One that says something else is somebody else's, a flanneld's for example,
and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from weft.alloc import addresses
from weft.base.errors import WeftError
from weft.base.net import IPNetwork, parse_interface
from weft.flannel.remembered import FOLDER
from weft.model import Lease, Network

USUAL = "/run/flannel/subnet.env"
_MODE = 0o644


def subnet_env(network: Network, lease: Lease, mtu: int, masquerade: bool) -> str:
    """As flanneld writes it (pkg/subnet: WriteSubnetFile). `masquerade`: who reads this need not do it."""
    lines = []
    for subnet, whole in zip(lease.subnets, network.subnets, strict=True):
        name = "FLANNEL_" if subnet.version == 4 else "FLANNEL_IPV6_"
        lines += [f"{name}NETWORK={whole}", f"{name}SUBNET={addresses.gateway(subnet)}/{subnet.prefixlen}"]
    return "\n".join([*lines, f"FLANNEL_MTU={mtu}", f"FLANNEL_IPMASQ={_word(masquerade)}", ""])


def docker_opts(lease: Lease, mtu: int, masquerade: bool) -> str:
    """As mk-docker-opts.sh writes it without options."""
    subnet = lease.subnets[0]
    options = {
        "BIP": f"--bip={addresses.gateway(subnet)}/{subnet.prefixlen}",
        "IPMASQ": f"--ip-masq={_word(not masquerade)}",
        "MTU": f"--mtu={mtu}",
    }
    lines = [f'DOCKER_OPT_{name}="{value}"' for name, value in options.items()]
    return "\n".join([*lines, f'DOCKER_OPTS=" {" ".join(options.values())}"', ""])


def former(path: str = USUAL) -> tuple[IPNetwork, ...]:
    """The subnets that this host had when such a file was written; none where that cannot be told."""
    try:
        lines = dict(line.split("=", 1) for line in Path(path).read_text().splitlines() if "=" in line)
        found = (lines.get(name) for name in ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"))
        return tuple(parse_interface(text.strip()).network for text in found if text)
    except (OSError, UnicodeError, WeftError):
        return ()


class EnvFiles:
    def __init__(self, state: Path) -> None:
        self._state = state
        self._trouble: dict[str, str] = {}

    def keep(self, wanted: Mapping[str, str]) -> None:
        """These files, by path, and no others of ours."""
        self._trouble = {}
        for path in {**dict.fromkeys(self._known()), **wanted}:
            try:
                if path in wanted:
                    self._write(Path(path), wanted[path])
                else:
                    self._remove(path)
            except OSError as error:
                self._trouble[path] = f"{path} cannot be written: {error.strerror}"

    def problems(self) -> Iterator[str]:
        yield from self._trouble.values()

    def _write(self, path: Path, text: str) -> None:
        there, ours = _read(path), self._ours(str(path))
        if there is not None and there != text and there not in ours:
            self._trouble[str(path)] = (
                f"{path} is somebody else's, and stays as it is: remove it if no flanneld runs here"
            )
            return
        if there == text:
            self._note(str(path), [text])
            return
        self._note(str(path), [text, *([] if there is None else [there])])
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.weft")
        fresh.write_text(text)
        fresh.chmod(_MODE)
        fresh.replace(path)
        self._note(str(path), [text])

    def _remove(self, path: str) -> None:
        if _read(Path(path)) in self._ours(path):
            Path(path).unlink(missing_ok=True)
        self._copy(path).unlink(missing_ok=True)

    # What was written.

    def _copy(self, path: str) -> Path:
        return self._state / FOLDER / f"{quote(path, safe='')}.written"

    def _known(self) -> list[str]:
        return [unquote(path.stem) for path in (self._state / FOLDER).glob("*.written")]

    def _ours(self, path: str) -> list[str]:
        """While a file is replaced it may say one or the other."""
        said = _read(self._copy(path))
        return [] if said is None else said.split("\0")

    def _note(self, path: str, texts: list[str]) -> None:
        copy, said = self._copy(path), "\0".join(texts)
        if _read(copy) != said:
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy.write_text(said)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None


def _word(value: bool) -> str:
    return "true" if value else "false"
