// One network.

import { facts, fill, h, renew, table } from "../dom.js";
import { count } from "../format.js";
import { labels, link, networkLink, section, swatch, title } from "../parts.js";
import { cluster, compare } from "../store.js";

export function open(main, name) {
  const body = h("div.page");
  fill(main, body);

  function draw() {
    const network = cluster.networks.get(name);
    if (!network) return renew(body, title(name), h("p.none", {}, "There is no such network any more."));
    const ids = cluster.byNetwork.get(name) || [];
    renew(body,
      title([swatch(name), name], h("div.tools", {}, h("a.button", { href: `#/endpoints?q=${encodeURIComponent(name)}` }, count(ids.length, "endpoint")))),
      (network.problems || []).map((text) => h("p.evidence", {}, text)),
      h("div.columns", {},
        section("Network", facts([["Driver", network.driver], ["Subnets", network.subnets.map((s) => h("code.line", {}, s))], ["MTU", network.mtu || "of the uplink, less what the driver adds"], ["Internal", network.internal ? "yes: no way out" : "no"], ["Labels", labels(network.labels)], ["Reaches", (network.reaches || []).map(networkLink)]])),
        section("Options", facts(Object.entries(network.options || {}).sort(([a], [b]) => compare(a, b)).map(([key, value]) => [key, h("code", {}, String(value))])))),
      section("Hosts", table("Hosts in this network", ["Host", "Subnets", "Endpoints›"], hosts(name, ids))));
  }

  draw();
  return { title: name, update: draw };
}

function hosts(name, ids) {
  const counted = new Map();
  for (const id of ids) counted.set(cluster.endpoints.get(id).node, (counted.get(cluster.endpoints.get(id).node) || 0) + 1);
  return [...cluster.nodes.values()].filter((n) => n.subnets?.[name] || counted.has(n.name)).sort((a, b) => compare(a.name, b.name))
    .map((n) => [link("host", n.name), (n.subnets?.[name] || []).map((s) => h("code.line", {}, s)), String(counted.get(n.name) || 0)]);
}
