// Endpoints, and whatever else a word fits: hosts, networks, services.

import { fill, h, renew } from "../dom.js";
import { count } from "../format.js";
import { List } from "../list.js";
import { labels, link, networkLink, swatch } from "../parts.js";
import { cluster } from "../store.js";

const OTHERS = 12;

export function open(main, _name, params) {
  let text = params.get("q") || "";
  const field = document.getElementById("find-text");
  if (document.activeElement !== field) field.value = text;
  const others = h("div.others");
  const number = h("p.number", { role: "status" });
  const list = new List({ label: "Endpoints", heads: ["Endpoint", "Network", "Host", "Addresses", "Labels"], make: row, sign: (id) => JSON.stringify(cluster.endpoints.get(id)) });
  fill(main, h("div.title", {}, h("h1", {}, "Endpoints"), number), others, list.element);

  function draw() {
    const found = cluster.find(text);
    number.textContent = text ? `${count(found.length, "endpoint")} for “${text}”` : count(found.length, "endpoint");
    renew(others, text ? otherFinds(text) : []);
    list.element.hidden = !found.length;
    list.show(found);
  }

  draw();
  return {
    title: "Endpoints",
    update: (changed) => changed.has("endpoints") && draw(),
    close: () => list.close(),
    enter: () => (others.querySelector("a") || { focus: () => list.focus(0) }).focus(),
    search: (wanted) => {
      text = wanted;
      list.window.scrollTop = 0;
      draw();
    },
  };
}

function row(id) {
  const e = cluster.endpoints.get(id);
  return h("div.row", {},
    h("span.e-name", { role: "cell" }, h("a", { href: `#/endpoint/${encodeURIComponent(id)}` }, e.name)),
    h("span.e-network", { role: "cell" }, swatch(e.network), e.network),
    h("span.e-node", { role: "cell" }, e.node),
    h("span.e-addresses", { role: "cell" }, (e.addresses || []).join("  ")),
    h("span.e-labels", { role: "cell" }, labels(e.labels)));
}

function otherFinds(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (...said) => words.every((word) => said.some((one) => String(one).toLowerCase().includes(word)));
  const hosts = [...cluster.nodes.values()].filter((n) => fits(n.name, ...(n.addresses || []))).map((n) => link("host", n.name));
  const networks = [...cluster.networks.values()].filter((n) => fits(n.name, n.driver, ...n.subnets)).map((n) => networkLink(n.name));
  const services = [...cluster.services.entries()]
    .filter(([key, s]) => fits(key, ...(s.service.addresses || [])))
    .map(([key]) => h("a", { href: `#/services?at=${encodeURIComponent(key)}` }, key));
  return [["Hosts", hosts], ["Networks", networks], ["Services", services]].filter(([, found]) => found.length)
    .map(([what, found]) => h("p", {}, h("b", {}, what), found.slice(0, OTHERS), found.length > OTHERS ? h("span.quiet", {}, `and ${found.length - OTHERS} more`) : null));
}
