// One host: what it is, what it has to do with the one that answers, its endpoints, its devices, its checks.

import { facts, fill, h, renew, table } from "../dom.js";
import { ago, count, octets, packets, rate } from "../format.js";
import { List } from "../list.js";
import { labels, link, liveness, networkLink, section, since, state, swatch, title } from "../parts.js";
import { ask, cluster, compare } from "../store.js";

export function open(main, name) {
  const top = h("div.page");
  const number = h("h2", { id: "s-endpoints" });
  const list = new List({ label: `Endpoints of ${name}`, heads: ["Endpoint", "Network", "Addresses", "Labels"], make: row, sign: (id) => JSON.stringify(cluster.endpoints.get(id)) });
  const bottom = h("div.page");
  let far = null;
  fill(main, top, h("section.of-host", { aria: { labelledby: "s-endpoints" } }, number, list.element), bottom);

  function draw() {
    const node = cluster.nodes.get(name);
    if (!node) return renew(top, title(name), h("p.none", {}, "There is no such host any more."));
    const [kind, word] = liveness(node);
    renew(top,
      title(name, h("div.tools", {}, state(kind, word), node.this ? h("span.here", {}, "here") : null)),
      node.evidence && !node.alive ? h("p.evidence", {}, node.evidence) : null,
      h("div.columns", {},
        section("Host", facts([["Addresses", codes(node.addresses)], ["Uplink", node.uplink && `${node.uplink}, MTU ${node.mtu}`], ["Segment", node.segment], ["Version", node.version], ["Policy", node.foreign ? "" : `through ${node.policy || "nftables"}`]])),
        section("Subnets", facts(Object.entries(node.subnets || {}).sort(([a], [b]) => compare(a, b)).map(([of, subnets]) => [networkLink(of), codes(subnets)])))));
    const ids = [...(cluster.byNode.get(name) || [])].sort((a, b) => compare(cluster.endpoints.get(a).name, cluster.endpoints.get(b).name));
    number.textContent = count(ids.length, "endpoint");
    list.element.hidden = !ids.length;
    list.element.style.setProperty("--most", String(Math.min(ids.length, 12)));
    list.show(ids);
    const me = cluster.here?.node || "this host";
    renew(bottom, node.this ? devices() : [said(name, far, () => learn())],
      node.this ? [ways(me, [...cluster.peers.values()]), sessions(me, [...cluster.sessions.values()])] : far?.status ? [ways(name, far.peers), sessions(name, far.sessions)] : null);
  }

  /** What only that host knows, from its agent. */
  async function learn() {
    const node = cluster.nodes.get(name);
    if (!node || node.this || node.foreign) return;
    far = { asking: true };
    draw();
    try {
      const [status, found, peers] = await Promise.all(["status", "bgp_sessions", "mesh_peers"].map((operation) => ask(`api/agent/${operation}`, { node: name })));
      far = { status, sessions: found, peers, time: Date.now() / 1000 };
    } catch (error) {
      far = { error: error.message };
    }
    draw();
  }

  draw();
  learn();
  return { title: name, update: draw, close: () => list.close() };
}

const codes = (texts) => (texts || []).map((text) => h("code.line", {}, text));

function row(id) {
  const e = cluster.endpoints.get(id);
  return h("div.row", {},
    h("span.e-name", { role: "cell" }, h("a", { href: `#/endpoint/${encodeURIComponent(id)}` }, e.name)),
    h("span.e-network", { role: "cell" }, swatch(e.network), e.network),
    h("span.e-addresses", { role: "cell" }, (e.addresses || []).join("  ")),
    h("span.e-labels", { role: "cell" }, labels(e.labels)));
}

/** How another host says that it is. */
function said(name, far, again) {
  if (!far) return null;
  const tools = h("button", { type: "button", "data-at": "again", onclick: again }, "Ask again");
  if (far.asking) return section(`As ${name} sees it`, h("p.none", {}, `Asking ${name} …`));
  if (far.error) return section(`As ${name} sees it`, h("p.evidence", {}, far.error), tools);
  const { status } = far;
  const amiss = [...status.troubles.map((t) => [h("code", {}, t.object), t.reason]), ...status.problems.map((p) => [[p.network, p.peer].filter(Boolean).join(", ") || "this host", p.text])];
  return section(`As ${name} sees it`, facts([
    ["State", state(status.state === "converged" ? "good" : status.state === "degraded" ? "bad" : "warn", status.state)],
    ["Store", `${status.store.state} for ${ago(status.store.since)}`], ["Up", ago(status.started)], ["Repairs", String(status.repairs)], ["Asked", [`${ago(far.time)} ago `, tools]]]),
    amiss.length ? table(`Problems of ${name}`, ["What", "Why"], amiss) : null);
}

/** Of packets to the others, where networks have several ways. */
function ways(name, found) {
  if (!found.length) return null;
  const rows = found.sort((a, b) => compare(a.name, b.name)).map((p) => [
    link("host", p.name), state(p.state === "established" ? "good" : "bad", p.state), p.way === "relay" ? `relay via ${p.via}` : p.way, p.encrypted || "–",
    p.rtt === null || p.rtt === undefined ? "–" : `${p.rtt} ms`, p.mtu ? String(p.mtu) : "–", ago(p.since), (p.why || []).join("; ")]);
  return section(`Ways from ${name}`, table("Ways to other hosts", ["Host", "State", "Way", "Encrypted", "Round trip›", "MTU›", "For", "Why not the best"], rows));
}

function sessions(name, found) {
  if (!found.length) return null;
  const rows = found.sort((a, b) => compare(a.name, b.name)).map((s) => [
    s.name, h("code", {}, s.address), String(s.asn), state(s.state === "Established" ? "good" : "bad", s.state), s.since ? since(s.since) : "–",
    String(s.received || 0), String(s.announced || 0), s.reason || s.last_error || ""]);
  return section(`BGP sessions of ${name}`, table("BGP sessions", ["With", "Address", "AS›", "State", "For", "Received›", "Announced›", "Why"], rows));
}

function devices() {
  const rows = [...cluster.links].sort(([a, x], [b, y]) => Number(y.uplink || false) - Number(x.uplink || false) || rank(x) - rank(y) || compare(a, b)).map(([name, l]) => {
    const now = cluster.rate(name);
    const fine = l.up && l.carrier;
    return [h("code", {}, name), l.uplink ? "uplink" : l.kind || "", state(fine ? "good" : l.up ? "warn" : "bad", fine ? "up" : l.up ? "no carrier" : "down"), String(l.mtu || ""),
      rate(now.in), rate(now.out), octets(l.received_octets || 0), octets(l.sent_octets || 0), packets((l.dropped || 0) + (l.errors || 0))];
  });
  if (!rows.length) return null;
  return section("Devices", table("Devices", ["Device", "Kind", "State", "MTU›", "In›", "Out›", "In all›", "Out all›", "Lost›"], rows));
}

const rank = (l) => ({ veth: 2, bridge: 1 }[l.kind] ?? 0);
