// One endpoint: all that is known of it.

import { facts, fill, h, renew, table } from "../dom.js";
import { octets, packets, rate } from "../format.js";
import { labels, link, networkLink, section, state, title } from "../parts.js";
import { ask, cluster } from "../store.js";
import { connections } from "./connections.js";

export function open(main, id) {
  const body = h("div.page");
  const flows = connections(id, cluster.endpoints.get(id)?.node);
  let more = null;
  let failed = "";
  let policies = null;
  let told = "";
  fill(main, body);

  function draw() {
    const e = cluster.endpoints.get(id);
    if (!e && !more) return renew(body, title(id), h("p.none", {}, "There is no such endpoint any more."));
    const line = e || more;
    renew(body,
      title(line.name, h("div.tools", {}, h("a.button", { href: `#/trace?from=${encodeURIComponent(`${line.node}/${line.name}`)}` }, "Trace from here"), h("a.button", { href: `#/trace?to=${encodeURIComponent(`${line.node}/${line.name}`)}` }, "Trace to here"), h("a.button", { href: `#/trace?from=${encodeURIComponent(`${line.node}/${line.name}`)}&to=${outside(line)}` }, "Way out"))),
      e ? null : h("p.gone", {}, state("bad", "gone"), " as it was when it was last seen"),
      failed ? h("p.none", {}, failed) : null,
      h("div.columns", {},
        section("Where", facts([
          ["Network", networkLink(line.network)], ["Host", link("host", line.node)], ["Addresses", mono(more?.addresses || line.addresses)],
          ["MAC", mono([line.mac])], ["Gateways", mono(more?.gateways)], ["MTU", more?.mtu ? mono([String(more.mtu)]) : ""], ["Interface", mono([more?.interface])],
          ["Container", mono([more?.container])], ["Namespace", mono([more?.namespace])], ["Id", mono([id])]])),
        section("Who", facts([
          ["Labels", labels(line.labels)], ["Namespace", line.policy_namespace], ["Also called", (line.aliases || []).join(", ")],
          ["Resolver", mono([more?.resolver])], ["Owner", mono([more?.owner])], ["Spoofing", more?.spoofing], ["Bandwidth", bandwidth(more?.bandwidth)]]))),
      ports(more), services(id), policy(), traffic(line.device), e ? flows : null, routes(more));
  }

  function policy() {
    if (policies === null) return null;
    return section("Policies", policies instanceof Error ? h("p.none", {}, policies.message) : table("Policies that select it", ["Policy", "Tier", "In›", "Out›"],
      policies.map((p) => [p.id, p.tier, rules(p.ingress), rules(p.egress)]), "No policy selects it: everything may pass."));
  }

  async function learn() {
    if (!cluster.endpoints.has(id)) return draw();
    told = JSON.stringify(cluster.endpoints.get(id));
    try {
      more = await ask("api/agent/endpoint", { ref: id });
      failed = "";
    } catch (error) {
      failed = error.message;
    }
    draw();
    try {
      policies = (await ask("api/agent/policies", { endpoint: id })).policies;
    } catch (error) {
      policies = error;
    }
    return draw();
  }

  draw();
  learn();
  return {
    title: cluster.endpoints.get(id)?.name || id,
    update: (changed) => {
      if (changed.has("endpoints") && JSON.stringify(cluster.endpoints.get(id)) !== told) learn();
      else if (changed.has("services") || changed.has("links")) draw();
    },
  };
}

/** An address that is nobody's (RFC 5737, RFC 3849). */
const outside = (line) => ((line.addresses || []).some((a) => String(a).includes(".")) || !(line.addresses || []).length ? "192.0.2.1" : "2001:db8::1");
const mono = (texts) => (texts || []).filter(Boolean).map((text) => h("code.line", {}, text));
const rules = (number) => (number === null || number === undefined ? "–" : String(number));
const bandwidth = (b) => (b ? Object.entries(b).map(([key, value]) => `${key} ${value}`).join(", ") : "");

function ports(more) {
  const published = (more?.ports || []).map((p) => [h("code", {}, `${p.host_ip || "any"}:${p.host_port}`), h("code", {}, String(p.port ?? p.container_port ?? "")), p.protocol || "tcp"]);
  const named = (more?.named_ports || []).map((p) => [p.name, h("code", {}, String(p.port)), p.protocol]);
  const floating = (more?.floating || []).map((address) => [h("code", {}, address)]);
  return [
    published.length ? section("Published ports", table("Published ports", ["On the host", "In the container", "Protocol"], published)) : null,
    named.length ? section("Named ports", table("Named ports", ["Name", "Port", "Protocol"], named)) : null,
    floating.length ? section("Floating addresses", table("Floating addresses", ["Address"], floating)) : null,
  ];
}

function services(id) {
  const found = [];
  for (const [key, s] of cluster.services) {
    const member = (s.members || []).find((m) => m.id === id);
    if (member) found.push([h("a", { href: `#/services?at=${encodeURIComponent(key)}` }, key), state(member.state === "ready" ? "good" : member.state === "draining" ? "warn" : "bad", member.state), member.reason || "", (s.service.addresses || []).join(", ")]);
  }
  return found.length ? section("Services", table("Services it is a member of", ["Service", "State", "Why", "Addresses"], found)) : null;
}

function traffic(device) {
  const l = device && cluster.links.get(device);
  if (!l) return null;
  const now = cluster.rate(device);
  return section("Traffic", facts([
    ["Device", h("code", {}, device)], ["To it", `${rate(now.out)}, ${octets(l.sent_octets || 0)} in ${packets(l.sent || 0)} packets`],
    ["From it", `${rate(now.in)}, ${octets(l.received_octets || 0)} in ${packets(l.received || 0)} packets`], ["Dropped", packets(l.dropped || 0)], ["Errors", packets(l.errors || 0)]]));
}

function routes(more) {
  if (!more?.routes?.length) return null;
  return section("Its routes", table("Routes", ["Destination", "Gateway"], more.routes.map((r) => [h("code", {}, r.destination), r.gateway ? h("code", {}, r.gateway) : "on its link"])));
}
