"""A host as Python sees it: its namespaces, and the containers in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.base.errors import NotFound
from weft.hoststate.links import NETNS_ALIAS, NETNS_PREFIX
from weft.lab import state
from weft.lab.inside import Inside
from weft.lab.process import PROC


class Container(msgspec.Struct, frozen=True):
    """Of one made by `Lab.run`. `network`: what it was attached to."""

    network: str


@dataclass(frozen=True)
class Host(Inside):
    """The namespaces of a host, the router or `outside`."""

    @property
    def own(self) -> Path:
        """Its directory, as seen from everywhere."""
        return self.directory / "hosts" / self.name

    @property
    def socket(self) -> Path:
        """Its agent's socket, as seen from outside of the host."""
        return state.socket(self.directory, self.name)

    def containers(self) -> list[str]:
        """The named network namespaces in it, but for Weft's own: those are told by their loopback device's alias."""
        try:
            names = sorted(p.name for p in (PROC / str(self.holder.pid) / "root/run/netns").iterdir())
        except FileNotFoundError:
            return []
        return [name for name in names if not (name.startswith(NETNS_PREFIX) and self._is_wefts(name))]

    def _is_wefts(self, name: str) -> bool:
        """A container may be called so, too."""
        shown = self.run(["ip", "-n", name, "-j", "link", "show", "lo"])
        return shown.returncode == 0 and any(link.get("ifalias") == NETNS_ALIAS for link in json.loads(shown.stdout))

    def container(self, name: str) -> Inside:
        """Raises NotFound."""
        if name not in self.containers():
            raise NotFound(
                f"no container '{name}' on {self.name}: it has {', '.join(self.containers()) or 'none'}; "
                f"`weft lab run {self.name} {name} --network N` makes one"
            )
        within = ("ip", "netns", "exec", name)
        return Inside(f"{self.name}/{name}", self.holder, self.init, self.directory, within)
