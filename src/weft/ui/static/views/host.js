// One host: what it is, what it has to do with the one that answers, its endpoints, its devices, its checks.

import { facts, fill, h, table } from "../dom.js";
import { ago, count, octets, packets, rate } from "../format.js";
import { List } from "../list.js";
import { labels, link, liveness, networkLink, section, since, state, swatch, title } from "../parts.js";
import { cluster, compare } from "../store.js";

export function open(main, name) {
  const top = h("div.page");
  const number = h("h2", { id: "s-endpoints" });
  const list = new List({ label: `Endpoints of ${name}`, heads: ["Endpoint", "Network", "Addresses", "Labels"], make: row, sign: (id) => JSON.stringify(cluster.endpoints.get(id)) });
  const bottom = h("div.page");
  fill(main, top, h("section.of-host", { aria: { labelledby: "s-endpoints" } }, number, list.element), bottom);

  function draw() {
    const node = cluster.nodes.get(name);
    if (!node) return fill(top, title(name), h("p.none", {}, "There is no such host any more."));
    const [kind, word] = liveness(node);
    fill(top,
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
    fill(bottom, ways(node), sessions(node), node.this ? devices() : null);
  }

  draw();
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

/** Of packets between this host and the others, where networks have several ways. */
function ways(node) {
  const found = [...cluster.peers.values()].filter((p) => node.this || p.name === node.name);
  if (!found.length) return null;
  const rows = found.sort((a, b) => compare(a.name, b.name)).map((p) => [
    link("host", p.name), state(p.state === "established" ? "good" : "bad", p.state), p.way === "relay" ? `relay via ${p.via}` : p.way, p.encrypted || "–",
    p.rtt === null || p.rtt === undefined ? "–" : `${p.rtt} ms`, p.mtu ? String(p.mtu) : "–", ago(p.since), (p.why || []).join("; ")]);
  return section(`Ways from ${cluster.here?.node || "here"}`, table("Ways to other hosts", ["Host", "State", "Way", "Encrypted", "Round trip›", "MTU›", "For", "Why not the best"], rows));
}

function sessions(node) {
  const found = [...cluster.sessions.values()].filter((s) => node.this || s.name === node.name);
  if (!found.length) return null;
  const rows = found.sort((a, b) => compare(a.name, b.name)).map((s) => [
    s.name, h("code", {}, s.address), String(s.asn), state(s.state === "Established" ? "good" : "bad", s.state), s.since ? since(s.since) : "–",
    String(s.received || 0), String(s.announced || 0), s.reason || s.last_error || ""]);
  return section(`BGP sessions of ${cluster.here?.node || "this host"}`, table("BGP sessions", ["With", "Address", "AS›", "State", "For", "Received›", "Announced›", "Why"], rows));
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
