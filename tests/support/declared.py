"""Documents of every kind that can be declared, and how they are applied in tests."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from weft.agent.resources.service import Service
from weft.api import declared as d
from weft.api import types as t
from weft.documents.text import documents, text
from weft.model import decode, encode

BLUE = """
apiVersion: weft/v1
kind: Network
metadata: {name: blue, labels: {app: shop}}
spec: {driver: vxlan, subnets: [10.20.0.0/16, "fd00:20::/48"], options: {vni: 77}}
"""
PROD = """
apiVersion: weft/v1
kind: Network
metadata: {name: prod, labels: {app: shop}}
spec: {driver: routed, subnets: [10.30.0.0/16], options: {block-size: 28, masquerade: false}, mtu: 1400}
"""
POOL = """
apiVersion: weft/v1
kind: Pool
metadata: {name: 10.31.0.0/16, network: prod}
spec: {nodes: rack=b, disabled: true}
"""
WEB = """
apiVersion: weft/v1
kind: Service
metadata: {name: web, network: blue, labels: {app: shop}}
spec: {ports: ["80:8080", dns=53/udp], select: app=web, publish: ["8000:80"], health: {check: http/up, rise: 2}, drain: 5}
"""
SETTINGS = """
apiVersion: weft/v1
kind: BgpSettings
spec: {holdTime: 9, mesh: false}
"""
PEER = """
apiVersion: weft/v1
kind: BgpPeer
metadata: {name: tor-a, labels: {app: shop}}
spec: {address: 192.168.1.1, asn: 65001, nodes: rack=a, accept: [0.0.0.0/0], ttlSecurity: true}
"""
TIER = """
apiVersion: weft/v1
kind: Tier
metadata: {name: audit, labels: {app: shop}}
spec: {order: 5, defaultAction: Pass}
"""
POLICY = """
apiVersion: weft/v1
kind: Policy
metadata: {name: web, namespace: shop, labels: {app: shop}}
spec: {tier: audit, selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [8080]}}]}
"""
KUBERNETES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop, labels: {app: shop}}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}
"""
NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {app: shop}}
"""
NETWORK_SET = """
apiVersion: weft/v1
kind: NetworkSet
metadata: {name: office, labels: {app: shop}}
spec: {nets: [203.0.113.0/24]}
"""
FLOATING = """
apiVersion: weft/v1
kind: FloatingAddress
metadata: {name: 198.51.100.7, network: prod}
spec: {endpoint: c1}
"""
CLUSTER = (WEB, POLICY, POOL, BLUE, PROD, SETTINGS, PEER, TIER, KUBERNETES, NAMESPACE, NETWORK_SET)
"""A whole one, in no order that could be applied as it stands."""


def sources(*texts: str) -> tuple[t.PolicySource, ...]:
    return tuple(
        t.PolicySource(place=doc.place, document=doc.value)
        for number, each in enumerate(texts)
        for doc in documents(dedent(each), f"f{number}.yaml")
    )


async def applied(service: Service, *texts: str, **more: Any) -> d.Applied:
    """As it comes by the API."""
    done = await service.apply(d.Apply(documents=sources(*texts), **more))
    return decode(d.Applied, encode(done))


async def changes(service: Service, *texts: str, **more: Any) -> dict[str, str]:
    """What became of each. Fails where there is a fault."""
    done = await applied(service, *texts, **more)
    assert done.faults == ()
    return {change.id: change.change for change in done.changes}


async def faults(service: Service, *texts: str, **more: Any) -> list[str]:
    done = await applied(service, *texts, **more)
    assert done.faults and not done.changes
    return list(done.faults)


async def exported(service: Service, refs: str = "", **more: str) -> list[str]:
    """A text for each document."""
    found = decode(d.Declared, encode(await service.declared(refs, **more)))
    return [text(document) for document in found.documents]
