"""Hosts without an agent, told as agents would tell of them: this one, and those of which there is a file. So a trace over
Docker's, Podman's or CNI's own networks asks in the same way as one over Weft's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property

import msgspec

from weft.api import services as s
from weft.api import types as t
from weft.api.dump import ALONE, HostDump
from weft.api.observed import Explanation
from weft.base.errors import Unavailable
from weft.base.net import IPAddress
from weft.inspect.export import Export
from weft.inspect.here import Here
from weft.trace.collect import Agent, Asked
from weft.trace.ends import knows


class Hosts:
    """This one, and those of `files`; an agent as `weft.trace.collect.gather` wants it. `wanted`: what a trace is about, which
    is looked for among this host's containers. `agent`: the one that runs here, which knows of others and of the cluster."""

    def __init__(self, wanted: Collection[str], files: Iterable[Export] = (), agent: Agent | None = None) -> None:
        self._wanted = wanted
        self._agent = agent
        self._nodes = agent.nodes() if agent else ()
        self._known = agent.endpoints() if agent else ()
        own = next((node for node in self._nodes if node.this), None)
        self.here = Here(own.name if own else "", [e.namespace for e in self._known if own and e.node == own.name])
        self._files = {file.host.node: file for file in files}

    @cached_property
    def strangers(self) -> tuple[t.EndpointInfo, ...]:
        """Containers here that are meant by words that nobody else is called by."""
        files = self._files.values()
        known = (*self._known, *(each for file in files for each in file.endpoints))
        nodes = (*self._nodes, *(file.info for file in files))
        return tuple(self.here.meant([word for word in self._wanted if not knows(word, known, nodes)]))

    @property
    def notes(self) -> tuple[str, ...]:
        return self.here.notes

    def at(self, node: str, patience: int = 5) -> Asked:
        if node == self.here.name:
            return self if self._agent else self.here
        if node in self._files:
            return File(self._files[node])
        if self._agent is not None:
            return self._agent.at(node, patience)
        raise Unavailable(f"nothing is known of {node}: run `weft trace export -o FILE` there, and give --with FILE")

    def kernel(self, namespaces: str = "", addresses: str = "") -> HostDump:
        """This host as it is seen here, with what only its agent knows."""
        told = self.here.kernel(namespaces, addresses)
        if self._agent is None:
            return told
        own = self._agent.kernel(ALONE)
        return msgspec.structs.replace(told, clouds=own.clouds, tunnels=own.tunnels)

    def endpoints(self) -> tuple[t.EndpointInfo, ...]:
        """What the cluster and a file both know is one, opened in the file's dump as the file says."""
        told = {
            (each.node, at.ip): each
            for file in self._files.values()
            for each in file.endpoints
            for at in each.addresses
        }
        known = [self._as_told(each, told) for each in self._known]
        taken = {(each.node, at.ip) for each in known for at in each.addresses}
        others = (
            each
            for file in self._files.values()
            for each in file.endpoints
            if not any((each.node, at.ip) in taken for at in each.addresses)
        )
        return (*known, *self.strangers, *others)

    def _as_told(self, known: t.EndpointInfo, told: dict[tuple[str, IPAddress], t.EndpointInfo]) -> t.EndpointInfo:
        found = next((told[key] for at in known.addresses if (key := (known.node, at.ip)) in told), None)
        if found is None or known.node == self.here.name:  # this host is looked at itself
            return known
        return msgspec.structs.replace(known, namespace=found.namespace)

    def nodes(self) -> tuple[t.NodeInfo, ...]:
        """A bridge's address is mostly that of every host's own bridge: then it is this host's."""
        first = self._nodes or (self.here.node,)
        taken = {each.ip for node in first for each in node.addresses}
        others = [file.info for file in self._files.values() if file.host.node not in {node.name for node in first}]
        apart = (
            msgspec.structs.replace(
                node, this=False, addresses=tuple(each for each in node.addresses if each.ip not in taken)
            )
            for node in others
        )
        return (*first, *apart)

    def services(self) -> tuple[s.ServiceInfo, ...]:
        return self._agent.services() if self._agent else ()

    def explain(self, source: str, target: str, protocol: str = "", port: str = "", family: str = "") -> Explanation:
        """Raises Unavailable where no agent runs."""
        if self._agent is None:
            raise Unavailable("no agent runs here: only one knows policies")
        return self._agent.explain(source, target, protocol, port, family)


class File:
    """A host as a file has it."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def kernel(self, namespaces: str = "", addresses: str = "") -> HostDump:
        return self._export.host
