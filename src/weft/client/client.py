"""The agent's operations as methods. `weft.api.operations` says what each is on the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

from weft.api import checks as c
from weft.api import declared as d
from weft.api import flows as f
from weft.api import live
from weft.api import mesh as m
from weft.api import observed as o
from weft.api import services as s
from weft.api import types as t
from weft.api.dump import HostDump
from weft.api.operations import BY_NAME, NODE, PATIENCE
from weft.api.topology import Topology
from weft.base.errors import ERRORS, Failed, Invalid, WeftError
from weft.base.names import check_name
from weft.client.connection import Answer, ask
from weft.model import BgpPeer, BgpSettings, Network, decode, encode

DEFAULT_SOCKET = "/run/weft/weft.sock"
TIMEOUT = 60.0
"""Seconds. Attaching takes milliseconds; what waits for an unreachable store gives up before this."""

INTERRUPTED = "interrupted: the agent was asked, and may have done it, or do it yet"
"""Note of a KeyboardInterrupt while a change was waited for."""

MARGIN = 5.0
"""Seconds that the local agent has, beyond those for another one's answer."""

T = TypeVar("T")


class Client:
    """Blocking; every method is one request. Raises what the agent raised (`weft.base.errors`), Unavailable when none
    answers, Denied when its socket may not be opened."""

    def __init__(
        self,
        socket_path: str = DEFAULT_SOCKET,
        timeout: float = TIMEOUT,
        headers: Mapping[str, str] | None = None,
        as_of: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`headers`: of each request. `as_of`: told of each answer that is not the store's, which is away, since when, why, and
        what is not known (`weft.api.operations.AS_OF`)."""
        self.socket_path = socket_path
        self.timeout = timeout
        self.headers, self.as_of = dict(headers or {}), as_of

    def at(self, node: str, patience: int = 10) -> Client:
        """A client of another node's agent, which the local one asks through the store: for operations that are `afar`
        (`weft.api.operations`). `patience`: seconds for an answer. Raises Invalid for what is no node's name; its calls raise
        NotFound where there is no such node, Unavailable where its agent is dead or does not answer in time."""
        headers = {NODE: check_name("node", node), PATIENCE: str(patience)}
        return Client(self.socket_path, max(self.timeout, patience + MARGIN), headers, self.as_of)

    def status(self) -> t.Status:
        return self._call(t.Status, "status")

    def doctor(self) -> tuple[t.Finding, ...]:
        return self._call(tuple[t.Finding, ...], "doctor")

    def plan(self, network: str = "") -> t.PlanReply:
        return self._call(t.PlanReply, "plan", network=network)

    def kernel(self, namespaces: str = "", addresses: str = "") -> HostDump:
        """`namespaces`: paths of endpoints' namespaces on that node, with commas between, or `weft.api.dump.ALONE` for none of
        them; else those of all. The host's own is always told of. `addresses`: with commas between, those of which entries of
        conntrack are told."""
        return self._call(HostDump, "kernel", namespaces=namespaces, addresses=addresses)

    def topology(self, after: str = "", wait: str = "") -> Topology:
        """What changed since the answer whose `at` is `after`, within `wait` seconds; else all there is."""
        return self._call(Topology, "topology", after=after, wait=wait)

    def store(self) -> t.StoreStatus:
        return self._call(t.StoreStatus, "store")

    def accept_store(self) -> t.StoreStatus:
        return self._call(t.StoreStatus, "accept_store")

    def restore_store(self) -> t.StoreStatus:
        return self._call(t.StoreStatus, "restore_store")

    def mesh(self) -> m.MeshStatus:
        """Raises Unsupported where the agent's store is no mesh://."""
        return self._call(m.MeshStatus, "mesh")

    def mesh_peers(self) -> tuple[m.MeshPeer, ...]:
        """How packets get to other nodes, where networks have several ways."""
        return self._call(tuple[m.MeshPeer, ...], "mesh_peers")

    def recover_mesh(self) -> t.Done:
        return self._call(t.Done, "recover_mesh")

    def leave_mesh(self) -> t.Done:
        return self._call(t.Done, "leave_mesh")

    def nodes(self) -> tuple[t.NodeInfo, ...]:
        return self._call(tuple[t.NodeInfo, ...], "nodes")

    def node(self, name: str) -> t.NodeInfo:
        return self._call(t.NodeInfo, "node", name=name)

    def remove_node(self, name: str, *, force: bool = False) -> t.Done:
        return self._call(t.Done, "remove_node", name=name, force=_flag(force))

    def networks(self, *, brief: bool = False) -> tuple[t.NetworkInfo, ...]:
        """`brief`: without the numbers of endpoints, for which all of the cluster's are looked at."""
        return self._call(tuple[t.NetworkInfo, ...], "networks", brief=_flag(brief))

    def network(self, name: str, *, brief: bool = False) -> t.NetworkInfo:
        return self._call(t.NetworkInfo, "network", name=name, brief=_flag(brief))

    def create_network(self, network: Network) -> t.NetworkInfo:
        return self._call(t.NetworkInfo, "create_network", t.CreateNetwork(network=network))

    def set_network(self, name: str, request: t.SetNetwork) -> t.NetworkSet:
        return self._call(t.NetworkSet, "set_network", request, name=name)

    def remove_network(self, name: str, *, force: bool = False) -> t.Done:
        return self._call(t.Done, "remove_network", name=name, force=_flag(force))

    def pools(self, network: str) -> tuple[t.PoolInfo, ...]:
        return self._call(tuple[t.PoolInfo, ...], "pools", name=network)

    def add_pool(self, network: str, request: t.AddPool) -> tuple[t.PoolInfo, ...]:
        return self._call(tuple[t.PoolInfo, ...], "add_pool", request, name=network)

    def set_pool(self, network: str, request: t.SetPool) -> tuple[t.PoolInfo, ...]:
        return self._call(tuple[t.PoolInfo, ...], "set_pool", request, name=network)

    def remove_pool(self, network: str, subnet: str) -> tuple[t.PoolInfo, ...]:
        return self._call(tuple[t.PoolInfo, ...], "remove_pool", name=network, subnet=subnet)

    def ipam(self, network: str = "") -> tuple[t.IpamInfo, ...]:
        return self._call(tuple[t.IpamInfo, ...], "ipam", network=network)

    def check_ipam(self, request: t.CheckIpam) -> t.IpamCheck:
        return self._call(t.IpamCheck, "check_ipam", request)

    def reserve(self, network: str, request: t.Reserve) -> t.Reserved:
        return self._call(t.Reserved, "reserve", request, name=network)

    def release(self, network: str, address: str, owner: str) -> t.Done:
        return self._call(t.Done, "release", name=network, address=address, owner=owner)

    def endpoints(
        self, network: str = "", node: str = "", owner: str = "", selector: str = "", policy_namespace: str = ""
    ) -> tuple[t.EndpointInfo, ...]:
        """`owner`: that node's own endpoints whose owner begins so. `selector`: as policies have it."""
        return self._call(
            tuple[t.EndpointInfo, ...],
            "endpoints",
            network=network,
            node=node,
            owner=owner,
            selector=selector,
            policy_namespace=policy_namespace,
        )

    def endpoint(self, ref: str) -> t.EndpointInfo:
        """`ref`: an id, a name or an address."""
        return self._call(t.EndpointInfo, "endpoint", ref=ref)

    def attach(self, request: t.Attach) -> t.EndpointInfo:
        return self._call(t.EndpointInfo, "attach", request)

    def move(self, ref: str, request: t.Move) -> t.EndpointInfo:
        """`ref`: as for `endpoint`."""
        return self._call(t.EndpointInfo, "move", request, ref=ref)

    def label(self, ref: str, request: t.Label) -> t.EndpointInfo:
        """`ref`: as for `endpoint`."""
        return self._call(t.EndpointInfo, "label", request, ref=ref)

    def add_floating(self, ref: str, request: t.Float) -> t.EndpointInfo:
        """`ref`: as for `endpoint`."""
        return self._call(t.EndpointInfo, "add_floating", request, ref=ref)

    def remove_floating(self, ref: str, addresses: str) -> t.EndpointInfo:
        """`addresses`: with commas between."""
        return self._call(t.EndpointInfo, "remove_floating", ref=ref, addresses=addresses)

    def detach(self, target: str = "", network: str = "", *, owner: str = "") -> t.Done:
        """By what was attached, or by the owner alone."""
        return self._call(t.Done, "detach", target=target, network=network, owner=owner)

    def expose(self, network: str, request: t.Expose) -> t.EndpointInfo:
        return self._call(t.EndpointInfo, "expose", request, name=network)

    def hide(self, network: str) -> t.Done:
        return self._call(t.Done, "hide", name=network)

    def publish(self, request: t.Publish) -> t.EndpointInfo:
        return self._call(t.EndpointInfo, "publish", request)

    def check(self, owner: str) -> t.EndpointCheck:
        return self._call(t.EndpointCheck, "check", owner=owner)

    def services(self, network: str = "") -> tuple[s.ServiceInfo, ...]:
        return self._call(tuple[s.ServiceInfo, ...], "services", network=network)

    def service(self, ref: str) -> s.ServiceInfo:
        """`ref`: NAME or NETWORK/NAME."""
        return self._call(s.ServiceInfo, "service", ref=ref)

    def create_service(self, request: s.CreateService) -> s.ServiceInfo:
        return self._call(s.ServiceInfo, "create_service", request)

    def set_service(self, ref: str, request: s.SetService) -> s.ServiceInfo:
        """`ref`: as for `service`."""
        return self._call(s.ServiceInfo, "set_service", request, ref=ref)

    def remove_service(self, ref: str) -> t.Done:
        """`ref`: as for `service`."""
        return self._call(t.Done, "remove_service", ref=ref)

    def drain(self, ref: str, request: s.Drain) -> s.ServiceInfo:
        """`ref`: as for `service`."""
        return self._call(s.ServiceInfo, "drain", request, ref=ref)

    def report_health(self, ref: str, request: s.ReportHealth) -> s.ServiceInfo:
        """`ref`: as for `service`."""
        return self._call(s.ServiceInfo, "report_health", request, ref=ref)

    def bgp_sessions(self) -> tuple[t.BgpSession, ...]:
        return self._call(tuple[t.BgpSession, ...], "bgp_sessions")

    def bgp_routes(self, prefix: str = "") -> tuple[t.BgpRoute, ...]:
        """`prefix`: only those that cover it best."""
        return self._call(tuple[t.BgpRoute, ...], "bgp_routes", prefix=prefix)

    def bgp_settings(self) -> BgpSettings:
        return self._call(BgpSettings, "bgp_settings")

    def set_bgp(self, request: t.SetBgp) -> BgpSettings:
        return self._call(BgpSettings, "set_bgp", request)

    def bgp_peers(self) -> tuple[t.BgpPeerInfo, ...]:
        return self._call(tuple[t.BgpPeerInfo, ...], "bgp_peers")

    def add_bgp_peer(self, peer: BgpPeer, *, replace: bool = False) -> t.BgpPeerInfo:
        return self._call(t.BgpPeerInfo, "add_bgp_peer", t.AddBgpPeer(peer=peer, replace=replace))

    def remove_bgp_peer(self, name: str) -> t.Done:
        return self._call(t.Done, "remove_bgp_peer", name=name)

    def policies(self, endpoint: str = "") -> t.PolicyList:
        """`endpoint`: an id, for the policies that select it alone."""
        return self._call(t.PolicyList, "policies", endpoint=endpoint)

    def policy(self, ref: str) -> t.PolicyDocument:
        """`ref`: NAME, NAMESPACE/NAME, KIND/NAME or KIND/NAMESPACE/NAME."""
        return self._call(t.PolicyDocument, "policy", ref=ref)

    def apply_policies(self, request: t.ApplyPolicies) -> t.PolicyChanges:
        return self._call(t.PolicyChanges, "apply_policies", request)

    def remove_policies(self, request: t.RemovePolicies) -> t.PolicyChanges:
        return self._call(t.PolicyChanges, "remove_policies", request)

    def enforced(self, written: str = "") -> t.Enforced:
        """Returns once this host enforces what was written of policy. `written`: PREFIX=REVISION of the store, with commas
        between; "" for what this host knows."""
        return self._call(t.Enforced, "enforced", written=written)

    def declared(self, refs: str = "", network: str = "", labels: str = "") -> d.Declared:
        """`refs`: KIND, KIND/NAME or KIND/NETWORK/NAME, with commas between; "" for all. `network`: only what is of this one.
        `labels`: only what has all of these, KEY=VALUE with commas between."""
        return self._call(d.Declared, "declared", refs=refs, network=network, labels=labels)

    def apply(self, request: d.Apply) -> d.Applied:
        return self._call(d.Applied, "apply", request)

    def explain(self, source: str, target: str, protocol: str = "", port: str = "", family: str = "") -> o.Explanation:
        """`source`, `target`: an endpoint, a node or an address. `protocol`: "" for tcp. `port`: "" for one that no rule
        names."""
        return self._call(
            o.Explanation, "explain", source=source, target=target, protocol=protocol, port=port, family=family
        )

    def policy_counters(self, ref: str = "") -> o.PolicyCounters:
        """`ref`: as for `policy`; "" for all."""
        return self._call(o.PolicyCounters, "policy_counters", ref=ref)

    def policy_log(self, after: str = "", wait: str = "") -> o.LogPage:
        """What came after the entry of the number `after`; or, where there is nothing yet, within `wait` seconds."""
        return self._call(o.LogPage, "policy_log", after=after, wait=wait)

    def start_watch(self, request: live.WatchRequest) -> live.Watched:
        """Returns when it watches."""
        return self._call(live.Watched, "start_watch", request)

    def watched(self, id: str) -> live.Watched:
        return self._call(live.Watched, "watched", id=id)

    def end_watch(self, id: str) -> live.Watched:
        return self._call(live.Watched, "end_watch", id=id)

    def send_probe(self, request: live.ProbeRequest) -> live.Probed:
        """Returns with the answer, or when `seconds` are over."""
        return self._call(live.Probed, "send_probe", request)

    def place_probes(self, request: c.PlaceProbes) -> c.Placed:
        return self._call(c.Placed, "place_probes", request)

    def run_tests(self, run: str, request: c.RunTests) -> c.Ran:
        """Raises NotFound where the probes are gone."""
        return self._call(c.Ran, "run_tests", request, run=run)

    def remove_probes(self, run: str) -> t.Done:
        return self._call(t.Done, "remove_probes", run=run)

    def flows(
        self,
        *,
        network: str = "",
        endpoint: str = "",
        dropped: bool = False,
        limit: str = "",
        after: str = "",
        wait: str = "",
    ) -> f.FlowPage:
        """`endpoint`: as for `explain`. `after`: "now", or the `last` of the answer before: what began and ended since, or
        the first to do so within `wait` seconds."""
        return self._call(
            f.FlowPage,
            "flows",
            network=network,
            endpoint=endpoint,
            dropped=_flag(dropped),
            limit=limit,
            after=after,
            wait=wait,
        )

    def _call(self, reply: type[T], operation: str, request: t.Request | None = None, **params: str) -> T:
        """`reply`: the operation's own. Parameters that are "" are left out. Raises Invalid for one that is
        part of the path."""
        op = BY_NAME[operation]
        if any(not value and f"{{{name}}}" in op.path for name, value in params.items()):
            raise Invalid("'' is not a name: say which one is meant")
        target = op.path.format_map({name: quote(value, safe="") for name, value in params.items()})
        query = {name: params[name] for name in op.query if params[name]}
        if query:
            target += "?" + urlencode(query)
        body = None if request is None else encode(request)
        try:
            answer = ask(self.socket_path, self.timeout, op.method, target, body, self.headers)
        except KeyboardInterrupt as error:
            if op.method != "GET" and not op.afar:  # what is `afar` changes nothing
                error.add_note(INTERRUPTED)
            raise
        if not 200 <= answer.status < 300:
            raise self._error(answer)
        if answer.as_of:
            self.as_of(answer.as_of)
        try:
            return decode(reply, answer.body)
        except WeftError as error:
            raise self._strange(str(error)) from None

    def _error(self, answer: Answer) -> WeftError:
        try:
            error = decode(t.Error, answer.body)
        except Invalid:
            return self._strange(f"HTTP status {answer.status}")
        return ERRORS.get(error.error, WeftError)(error.message)

    def _strange(self, what: str) -> Failed:
        return Failed(
            f"the answer of {self.socket_path} is not understood ({what}): is it a Weft agent of the same version?"
        )


def _flag(value: bool) -> str:
    return "true" if value else ""
