// Pieces that several views show.

import { h } from "./dom.js";
import { ago } from "./format.js";
import { cluster } from "./store.js";

export const link = (kind, name, text = name) => h("a", { href: `#/${kind}/${encodeURIComponent(name)}` }, text);

export function networkLink(name) {
  return h("a.network", { href: `#/network/${encodeURIComponent(name)}` }, swatch(name), name);
}

/** A network's colour. */
export function swatch(name) {
  return h(`i.swatch.c${cluster.colours.get(name) ?? "x"}`, { aria: { hidden: "true" } });
}

export function endpointLink(id) {
  const e = cluster.endpoints.get(id);
  return e ? h("a", { href: `#/endpoint/${encodeURIComponent(id)}` }, e.name) : id;
}

/** Of a host: [class, word]. */
export function liveness(node) {
  if (node.foreign) return ["quiet", node.foreign];
  if (node.alive) return ["good", "alive"];
  return node.withdrawn ? ["bad", "dead"] : ["warn", "silent"];
}

export function state(kind, ...text) {
  return h(`span.state.${kind}`, {}, text);
}

export function labels(found) {
  return Object.entries(found || {}).map(([key, value]) => h("span.label", {}, `${key}=${value}`));
}

/** What the host that answers has to do with another one: pairs of class and text. */
export function relation(name) {
  const said = [];
  for (const s of cluster.sessions.values()) {
    if (s.name === name) said.push([s.state === "Established" ? "good" : "bad", `BGP ${s.state === "Established" ? "up" : s.state}`]);
  }
  const peer = cluster.peers.get(name);
  if (peer?.active) {
    const way = peer.way === "relay" ? `relay via ${peer.via}` : peer.way;
    const secured = peer.encrypted ? `, ${peer.encrypted}` : "";
    said.push([peer.state !== "established" ? "bad" : peer.way === "kernel" ? "good" : "warn", peer.state === "established" ? `${way}${secured}` : peer.state]);
  }
  return said;
}

export function since(time) {
  return h("time", { datetime: new Date(time * 1000).toISOString(), title: new Date(time * 1000).toLocaleString() }, ago(time));
}

export function title(text, ...more) {
  return h("div.title", {}, h("h1", {}, text), more);
}

export function section(name, ...children) {
  const id = `s-${name.replace(/\W+/g, "-")}`;
  return h("section", { aria: { labelledby: id } }, h("h2", { id }, name), children);
}
