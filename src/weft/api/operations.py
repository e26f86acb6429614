"""Every operation of the agent's API in one table.

Adding one: a line here, and a method of the same name in its resource, a class in `weft.agent.resources`. The client has
it at once, the OpenAPI document too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from weft.api import checks as c
from weft.api import declared as d
from weft.api import flows as f
from weft.api import live
from weft.api import mesh as m
from weft.api import observed as o
from weft.api import services as s
from weft.api import types as t
from weft.api.dump import HostDump
from weft.api.topology import Topology
from weft.model import BgpSettings

NODE = "Weft-Node"
"""Header of a request: the node whose agent is asked, by the one that is called. Else that one answers itself."""
PATIENCE = "Weft-Patience"
"""Header of such a request: for how many seconds the answer is waited for."""


AS_OF = "Weft-As-Of"
"""Header of an answer that is not the store's, which is away: when the agent last heard from it (RFC 3339), and, after a space,
why, and what is not known."""


class Operation(msgspec.Struct, frozen=True):
    """`query`: names of optional query parameters (text). `{x}` in the path is a required parameter. `afar`: another node's
    agent may be asked for it through the store. `largest`: octets of its request's body."""

    name: str
    method: str
    path: str
    summary: str
    reply: Any
    request: type[t.Request] | None = None
    query: tuple[str, ...] = ()
    afar: bool = False
    largest: int = 2**19

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the path's parameters."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "status", "GET", "/v1/status", "This node: store, peers, networks, objects, troubles", t.Status, afar=True
    ),
    Operation("doctor", "GET", "/v1/doctor", "Checks of this host", tuple[t.Finding, ...], afar=True),
    Operation(
        "plan", "GET", "/v1/plan", "What would be done now, as commands", t.PlanReply, query=("network",), afar=True
    ),
    Operation(
        "kernel",
        "GET",
        "/v1/kernel",
        "What the kernel has, here and in endpoints",
        HostDump,
        query=("namespaces", "addresses"),
        afar=True,
    ),
    Operation(
        "store", "GET", "/v1/store", "The store, and whether it is the one this host knows", t.StoreStatus, afar=True
    ),
    Operation(
        "topology",
        "GET",
        "/v1/topology",
        "The cluster as tables, and what changes in them",
        Topology,
        query=("after", "wait"),
    ),
    Operation("accept_store", "POST", "/v1/store/accept", "Take the store as it is", t.StoreStatus),
    Operation("restore_store", "POST", "/v1/store/restore", "Write back what the agents know", t.StoreStatus),
    Operation("mesh", "GET", "/v1/mesh", "Members of the mesh, and who keeps its store", m.MeshStatus, afar=True),
    Operation(
        "mesh_peers", "GET", "/v1/mesh/peers", "How packets get to other nodes", tuple[m.MeshPeer, ...], afar=True
    ),
    Operation("recover_mesh", "POST", "/v1/mesh/recover", "Go on with this host's voter alone", t.Done),
    Operation("leave_mesh", "POST", "/v1/mesh/leave", "Let this host leave the mesh", t.Done),
    Operation("nodes", "GET", "/v1/nodes", "All nodes", tuple[t.NodeInfo, ...]),
    Operation("node", "GET", "/v1/nodes/{name}", "One node", t.NodeInfo),
    Operation(
        "remove_node", "DELETE", "/v1/nodes/{name}", "Forget a node, free what it holds", t.Done, query=("force",)
    ),
    Operation("networks", "GET", "/v1/networks", "All networks", tuple[t.NetworkInfo, ...], query=("brief",)),
    Operation("network", "GET", "/v1/networks/{name}", "One network", t.NetworkInfo, query=("brief",)),
    Operation("create_network", "POST", "/v1/networks", "Make a network", t.NetworkInfo, t.CreateNetwork),
    Operation("set_network", "PUT", "/v1/networks/{name}", "Change a network in use", t.NetworkSet, t.SetNetwork),
    Operation("remove_network", "DELETE", "/v1/networks/{name}", "Remove an unused network", t.Done, query=("force",)),
    Operation("pools", "GET", "/v1/networks/{name}/pools", "A network's pools", tuple[t.PoolInfo, ...]),
    Operation("add_pool", "POST", "/v1/networks/{name}/pools", "Add a pool", tuple[t.PoolInfo, ...], t.AddPool),
    Operation("set_pool", "PUT", "/v1/networks/{name}/pools", "Change a pool", tuple[t.PoolInfo, ...], t.SetPool),
    Operation(
        "remove_pool",
        "DELETE",
        "/v1/networks/{name}/pools",
        "Remove an unused pool",
        tuple[t.PoolInfo, ...],
        query=("subnet",),
    ),
    Operation("ipam", "GET", "/v1/ipam", "Who holds which addresses", tuple[t.IpamInfo, ...], query=("network",)),
    Operation("check_ipam", "POST", "/v1/ipam/check", "Audit of all claims and leases", t.IpamCheck, t.CheckIpam),
    Operation(
        "reserve",
        "POST",
        "/v1/networks/{name}/addresses",
        "Keep an address for an endpoint to come",
        t.Reserved,
        t.Reserve,
    ),
    Operation(
        "release",
        "DELETE",
        "/v1/networks/{name}/addresses/{address}",
        "Give back an address that was kept",
        t.Done,
        query=("owner",),
    ),
    Operation(
        "endpoints",
        "GET",
        "/v1/endpoints",
        "Endpoints of all nodes",
        tuple[t.EndpointInfo, ...],
        query=("network", "node", "owner", "selector", "policy_namespace"),
    ),
    Operation("endpoint", "GET", "/v1/endpoints/{ref}", "One endpoint, by id, name or address", t.EndpointInfo),
    Operation("attach", "POST", "/v1/endpoints", "Connect a container on this node", t.EndpointInfo, t.Attach),
    Operation(
        "move", "POST", "/v1/endpoints/{ref}/move", "Bring an endpoint to a container here", t.EndpointInfo, t.Move
    ),
    Operation(
        "label",
        "POST",
        "/v1/endpoints/{ref}/labels",
        "Change labels, namespace and names of ports of an endpoint",
        t.EndpointInfo,
        t.Label,
    ),
    Operation(
        "add_floating",
        "POST",
        "/v1/endpoints/{ref}/floating",
        "Let external addresses lead to an endpoint",
        t.EndpointInfo,
        t.Float,
    ),
    Operation(
        "remove_floating",
        "DELETE",
        "/v1/endpoints/{ref}/floating",
        "Take external addresses (with commas between) from an endpoint",
        t.EndpointInfo,
        query=("addresses",),
    ),
    Operation(
        "detach",
        "DELETE",
        "/v1/endpoints",
        "Disconnect a container on this node",
        t.Done,
        query=("target", "network", "owner"),
    ),
    Operation(
        "expose",
        "POST",
        "/v1/networks/{name}/exposure",
        "Give this node an address in a network",
        t.EndpointInfo,
        t.Expose,
    ),
    Operation("hide", "DELETE", "/v1/networks/{name}/exposure", "Take this node's address in a network away", t.Done),
    Operation(
        "publish", "PUT", "/v1/ports", "Change which ports lead to an owner's endpoint", t.EndpointInfo, t.Publish
    ),
    Operation(
        "check",
        "GET",
        "/v1/check",
        "Whether an owner's endpoint stands in the kernel",
        t.EndpointCheck,
        query=("owner",),
    ),
    Operation("services", "GET", "/v1/services", "All services", tuple[s.ServiceInfo, ...], query=("network",)),
    Operation("service", "GET", "/v1/services/{ref}", "One service, by NAME or NETWORK/NAME", s.ServiceInfo),
    Operation("create_service", "POST", "/v1/services", "Make a service", s.ServiceInfo, s.CreateService),
    Operation("set_service", "PUT", "/v1/services/{ref}", "Change a service", s.ServiceInfo, s.SetService),
    Operation(
        "drain", "POST", "/v1/services/{ref}/drain", "No new connections to a member, or again", s.ServiceInfo, s.Drain
    ),
    Operation(
        "report_health",
        "PUT",
        "/v1/services/{ref}/health",
        "Tell whether a member takes connections",
        s.ServiceInfo,
        s.ReportHealth,
    ),
    Operation("remove_service", "DELETE", "/v1/services/{ref}", "Remove a service", t.Done),
    Operation(
        "bgp_sessions", "GET", "/v1/bgp/sessions", "This node's BGP sessions", tuple[t.BgpSession, ...], afar=True
    ),
    Operation(
        "bgp_routes",
        "GET",
        "/v1/bgp/routes",
        "What this node's BIRD knows",
        tuple[t.BgpRoute, ...],
        query=("prefix",),
        afar=True,
    ),
    Operation("bgp_settings", "GET", "/v1/bgp/settings", "How the cluster speaks BGP", BgpSettings),
    Operation("set_bgp", "PUT", "/v1/bgp/settings", "Change how the cluster speaks BGP", BgpSettings, t.SetBgp),
    Operation("bgp_peers", "GET", "/v1/bgp/peers", "Routers that nodes peer with", tuple[t.BgpPeerInfo, ...]),
    Operation("add_bgp_peer", "POST", "/v1/bgp/peers", "Add a router to peer with", t.BgpPeerInfo, t.AddBgpPeer),
    Operation("remove_bgp_peer", "DELETE", "/v1/bgp/peers/{name}", "Remove a router", t.Done),
    Operation(
        "policies", "GET", "/v1/policies", "All that was written about policy", t.PolicyList, query=("endpoint",)
    ),
    Operation("policy", "GET", "/v1/policies/{ref}", "One policy, tier, network set or namespace", t.PolicyDocument),
    Operation(
        "apply_policies", "POST", "/v1/policies", "Make or change what is written", t.PolicyChanges, t.ApplyPolicies
    ),
    Operation(
        "enforced",
        "GET",
        "/v1/enforced",
        "Once what was written of policy is enforced here",
        t.Enforced,
        query=("written",),
        afar=True,
    ),
    Operation(
        "remove_policies",
        "DELETE",
        "/v1/policies",
        "Remove policies by name or document",
        t.PolicyChanges,
        t.RemovePolicies,
    ),
    Operation(
        "declared",
        "GET",
        "/v1/declared",
        "What is declared, as documents",
        d.Declared,
        query=("refs", "network", "labels"),
    ),
    Operation(
        "apply",
        "POST",
        "/v1/declared",
        "Make and change what documents declare, remove what they do not",
        d.Applied,
        d.Apply,
        largest=d.LARGEST,
    ),
    Operation(
        "explain",
        "GET",
        "/v1/policy/explain",
        "Whether a connection may be made, and what decides so",
        o.Explanation,
        query=("source", "target", "protocol", "port", "family"),
        afar=True,
    ),
    Operation(
        "policy_counters",
        "GET",
        "/v1/policy/counters",
        "What rules of a policy, or of all, have counted on this host",
        o.PolicyCounters,
        query=("ref",),
        afar=True,
    ),
    Operation(
        "policy_log",
        "GET",
        "/v1/policy/log",
        "What rules of policy logged on this host, after one entry",
        o.LogPage,
        query=("after", "wait"),
        afar=True,
    ),
    Operation(
        "start_watch",
        "POST",
        "/v1/watches",
        "Watch for a marked packet here",
        live.Watched,
        live.WatchRequest,
        afar=True,
    ),
    Operation("watched", "GET", "/v1/watches/{id}", "What was seen of it until now", live.Watched, afar=True),
    Operation("end_watch", "DELETE", "/v1/watches/{id}", "The same, and the watch ends", live.Watched, afar=True),
    Operation(
        "send_probe", "POST", "/v1/probes", "Send a marked packet from here", live.Probed, live.ProbeRequest, afar=True
    ),
    Operation(
        "place_probes",
        "POST",
        "/v1/checks",
        "Make containers that test the network",
        c.Placed,
        c.PlaceProbes,
        afar=True,
    ),
    Operation(
        "run_tests",
        "POST",
        "/v1/checks/{run}/tests",
        "Test from one of these, or the host",
        c.Ran,
        c.RunTests,
        afar=True,
    ),
    Operation("remove_probes", "DELETE", "/v1/checks/{run}", "Remove these containers", t.Done, afar=True),
    Operation(
        "flows",
        "GET",
        "/v1/flows",
        "Connections of this host's containers, or those that begin and end after some moment",
        f.FlowPage,
        query=("network", "endpoint", "dropped", "limit", "after", "wait"),
        afar=True,
    ),
)

BY_NAME = {op.name: op for op in OPERATIONS}
