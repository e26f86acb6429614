"""A whole cluster out of one folder: brought about, changed under a running ping, pruned, written back."""

from __future__ import annotations

from pathlib import Path

from support.cluster import PATIENCE, Cluster
from support.declared import KUBERNETES, NAMESPACE, NETWORK_SET, PEER, POLICY, SETTINGS, TIER
from support.traffic import Traffic
from support.waiting import until
from weft.lab import Lab

BLUE = """
apiVersion: weft/v1
kind: Network
metadata: {name: blue, labels: {app: shop}}
spec: {driver: vxlan, subnets: [10.20.0.0/16, "fd00:20::/48"]}
"""
PROD = """
apiVersion: weft/v1
kind: Network
metadata: {name: prod, labels: {app: shop}}
spec: {driver: routed, subnets: [10.30.0.0/16]}
"""
POOL = """
apiVersion: weft/v1
kind: Pool
metadata: {name: 10.31.0.0/16, network: prod}
spec: {nodes: "!spare", disabled: true}
"""
WEB = """
apiVersion: weft/v1
kind: Service
metadata: {name: web, network: blue, labels: {app: shop}}
spec: {ports: ["80:8080"], members: [c2], publish: ["8000"], drain: 5}
"""
CLOSED = """
apiVersion: weft/v1
kind: Policy
metadata: {name: closed, labels: {app: shop}}
spec: {selector: "!has(open)", networks: [blue], ingress: [{action: Allow, protocol: TCP}]}
"""
FILES = {
    "networks.yaml": f"{BLUE}---{PROD}---{POOL}",
    "policy.yaml": f"{POLICY}---{KUBERNETES}---{NAMESPACE}---{TIER}---{NETWORK_SET}",
    "bgp.yaml": f"{SETTINGS}---{PEER}",
    "web.yaml": WEB,
}


def said(cluster: Cluster, *words: str, status: int = 0, host: str = "node-1") -> list[str]:
    code, out = cluster.weft(host, *words)
    assert code == status, out
    return out.splitlines()


def pings(cluster: Cluster, address: str, expected: bool) -> None:
    def fits() -> bool:
        ran = cluster.inside("node-1/c1").run(["ping", "-c1", "-W1", address])
        return (ran.returncode == 0) is expected

    until(fits, PATIENCE, f"{address} to be {'open' if expected else 'closed'}")


def test_a_cluster_out_of_a_folder(lab: Lab, tmp_path: Path) -> None:
    cluster, folder = Cluster(lab), tmp_path / "cluster"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    cluster.settled()

    would = said(cluster, "apply", "-f", str(folder), "--dry-run")
    assert would[-1] == "nothing was changed: 10 would be created, 1 would be changed"
    assert said(cluster, "network", "ls", "-q") == []
    told = said(cluster, "apply", "-f", str(folder))
    assert [line.split()[-1] for line in told] == ["created"] * 5 + ["changed"] + ["created"] * 5
    for host in ("node-2", "node-4"):
        until(lambda host=host: "service/blue/web unchanged" in said(cluster, "apply", "-f", str(folder), host=host),
              PATIENCE, f"{host} to know it")  # fmt: skip
        assert {line.split()[-1] for line in said(cluster, "apply", "-f", str(folder), host=host)} == {"unchanged"}

    cluster.container("node-1", "c1", "blue")
    address = str(cluster.container("node-2", "c2", "blue").addresses[0].ip)
    cluster.settled()
    with Traffic(tmp_path, [cluster.pair("node-1/c1", "node-2/c2")]) as traffic:
        before = traffic.mark()
        (folder / "web.yaml").write_text(WEB.replace("drain: 5", "drain: 7, aliases: [shop]"))
        (folder / "bgp.yaml").write_text(f"{SETTINGS.replace('9', '12')}---{PEER.replace('65001', '65002')}")
        (folder / "networks.yaml").write_text(
            FILES["networks.yaml"]
            .replace("disabled: true", "disabled: false")
            .replace("{app: shop}}\nspec: {driver: vxlan", "{app: shop, tier: a}}\nspec: {mtu: 1300, driver: vxlan")
        )
        told = said(cluster, "apply", "-f", str(folder))
        assert {line.split()[0] for line in told if line.endswith(" changed")} == {
            "service/blue/web",
            "bgpsettings/default",
            "bgppeer/tor-a",
            "pool/prod/10.31.0.0/16",
            "network/blue",
        }
        cluster.settled()
        traffic.flows()
        assert traffic.lost(before) == 0
        interface = cluster.inside("node-2/c2").must("its interface", ["ip", "-o", "link", "show", "eth0"])
        assert "mtu 1300" in interface

        (folder / "closed.yaml").write_text(CLOSED)
        said(cluster, "apply", "-f", str(folder), host="node-3")
        pings(cluster, address, expected=False)
        (folder / "closed.yaml").unlink()
        assert "policy/closed removed" in said(cluster, "apply", "-f", str(folder), "--prune", "app=shop")
        pings(cluster, address, expected=True)
        traffic.flows()

    (folder / "networks.yaml").write_text(PROD)
    [refusal] = said(cluster, "apply", "-f", str(folder / "networks.yaml"), "--prune", "app=shop", status=1)
    assert refusal.startswith(
        "weft: --prune: network blue has 2 endpoints (c1 on node-1, c2 on node-2): detach them first"
    )
    said(cluster, "detach", "c1")
    said(cluster, "detach", "c2", host="node-2")

    whole = tmp_path / "whole.yaml"
    whole.write_text("\n".join(said(cluster, "export")))
    told = said(cluster, "apply", "-f", str(folder / "networks.yaml"), "--prune", "app=shop")
    assert told[0] == "network/prod unchanged" and {line.split()[-1] for line in told[1:]} == {"removed"}
    assert said(cluster, "network", "ls", "-q") == ["prod"]
    assert said(cluster, "service", "ls", "-q") == []
    said(cluster, "apply", "-f", str(whole))
    assert "\n".join(said(cluster, "export")) == whole.read_text()
    cluster.settled()
