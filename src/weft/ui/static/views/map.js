// The map: each segment is a line that its hosts hang on, each host a card with what runs there. Nothing moves by itself.

import { fill, h, keyed, renew, table } from "../dom.js";
import { count, rate } from "../format.js";
import { endpointLink, link, liveness, networkLink, relation, state, swatch } from "../parts.js";
import { cluster, compare } from "../store.js";

const NAMED = 6; // endpoints of a host that are shown by name
const DRAWN = 240; // squares of one card
const TOLD = 3; // networks of a card that are named; of more, the colours above tell
const MANY = 24; // hosts, of which each gets less room

export const chosen = new Set();
let asTable = false;

export function open(main) {
  const filters = h("div.filters", { role: "group", aria: { label: "Networks" } });
  const body = h("div.map");
  const kind = h("button.quiet", { type: "button", "data-at": "kind" });
  kind.addEventListener("click", () => {
    asTable = !asTable;
    body.replaceChildren();
    draw();
  });
  fill(main, h("div.title", {}, h("h1", {}, "Map"), h("div.tools", {}, kind)), filters, body);

  function draw() {
    body.classList.toggle("many", cluster.nodes.size > MANY);
    kind.textContent = asTable ? "Show as map" : "Show as table";
    drawFilters(filters, draw);
    if (!cluster.nodes.size) fill(body, h("p.none", {}, "No hosts yet: start an agent with `weft agent run`."));
    else if (asTable) renew(body, hostTable());
    else segments(body);
  }

  main.addEventListener("keydown", arrows);
  draw();
  return { title: "Map", update: draw, close: () => main.removeEventListener("keydown", arrows), escape: () => clear(draw) };
}

function clear(draw) {
  if (!chosen.size) return false;
  chosen.clear();
  draw();
  return true;
}

function drawFilters(filters, draw) {
  for (const name of chosen) if (!cluster.networks.has(name)) chosen.delete(name);
  const names = [...cluster.networks.keys()].sort(compare);
  if (!names.length) return fill(filters, h("p.none", {}, "No networks yet: ", h("code", {}, "weft network create NAME --driver vxlan --subnet 10.1.0.0/16")));
  keyed(filters, names.map((name) => {
    const network = cluster.networks.get(name);
    const number = cluster.byNetwork.get(name)?.length || 0;
    const bad = network.problems?.length || 0;
    const on = chosen.has(name);
    return [name, `${number} ${bad} ${on} ${network.driver} ${cluster.colours.get(name)}`, () => h("button.chip", {
      type: "button", "data-at": `net-${name}`, aria: { pressed: String(on) },
      onclick: () => {
        if (on) chosen.delete(name);
        else chosen.add(name);
        draw();
      },
    }, swatch(name), h("b", {}, name), h("span", {}, network.driver), h("span.n", {}, String(number)), bad ? h("span.count.bad", { aria: { label: `${bad} problems` } }, String(bad)) : null)];
  }));
}

const fits = (id) => !chosen.size || chosen.has(cluster.endpoints.get(id).network);

/** Hosts by segment: of a host without one, its first address's subnet. */
function bySegment() {
  const found = new Map();
  for (const node of [...cluster.nodes.values()].sort((a, b) => compare(a.name, b.name))) {
    const name = node.segment || (node.foreign ? "hosts of others" : "no segment");
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(node);
  }
  return [...found].sort(([a], [b]) => compare(a, b));
}

function segments(body) {
  if (body.firstElementChild && !body.firstElementChild.dataset.key) body.replaceChildren();
  const groups = bySegment();
  keyed(body, groups.map(([name, nodes]) => [name, `${nodes.length}`, () => {
    const id = `seg-${name.replace(/\W+/g, "-")}`;
    return h("section.segment", { aria: { labelledby: id } },
      h("h2", { id }, h("span", {}, name), h("small", {}, count(nodes.length, "host"))), h("ul.hosts"));
  }]));
  groups.forEach(([, nodes], at) => keyed(body.children[at].querySelector("ul"), nodes.map((node) => {
    const ids = (cluster.byNode.get(node.name) || []).filter(fits);
    return [node.name, signature(node, ids), () => card(node, ids)];
  })));
}

function signature(node, ids) {
  const few = ids.length <= NAMED ? ids.map((id) => cluster.endpoints.get(id).name) : [];
  return JSON.stringify([node.alive, node.withdrawn, node.addresses, node.evidence, relation(node.name), tally(ids), few, [...cluster.colours], uplink(node), chosen.size]);
}

/** Endpoints of a host by network, in the order of names. */
function tally(ids) {
  const found = new Map();
  for (const id of ids) {
    const { network } = cluster.endpoints.get(id);
    found.set(network, (found.get(network) || 0) + 1);
  }
  return [...found].sort(([a], [b]) => compare(a, b));
}

function uplink(node) {
  if (!node.this) return "";
  for (const [name, l] of cluster.links) {
    const now = cluster.rate(name);
    if (l.uplink) return now.in === undefined ? name : `${name}  ↓ ${rate(now.in)}  ↑ ${rate(now.out)}`;
  }
  return "";
}

function card(node, ids) {
  const [kind, word] = liveness(node);
  const shares = relation(node.name);
  const traffic = uplink(node);
  return h(`li.host.${kind}`, {},
    h("div.name", {}, h("a", { href: `#/host/${encodeURIComponent(node.name)}`, "data-at": `host-${node.name}` }, node.name),
      node.this ? h("span.here", {}, "here") : null, state(kind, word)),
    h("p.addresses", {}, (node.addresses || []).map((a) => h("span", {}, a.split("/")[0]))),
    shares.length ? h("p.shares", {}, shares.map(([how, text]) => state(how, text))) : null,
    traffic ? h("p.traffic", {}, traffic) : null,
    node.evidence && !node.alive ? h("p.evidence", {}, node.evidence) : null,
    inside(node, ids));
}

function inside(node, ids) {
  if (!ids.length) return h("p.none", {}, chosen.size ? "none of these networks" : "no endpoints");
  if (ids.length <= NAMED) {
    const sorted = [...ids].sort((a, b) => compare(cluster.endpoints.get(a).name, cluster.endpoints.get(b).name));
    return h("ul.names", {}, sorted.map((id) => h("li", {}, swatch(cluster.endpoints.get(id).network), endpointLink(id), h("span.address", {}, cluster.endpoints.get(id).addresses?.[0] || ""))));
  }
  const counted = tally(ids);
  let left = DRAWN;
  const squares = counted.flatMap(([name, number]) => {
    const drawn = Math.min(left, number);
    left -= drawn;
    return Array.from({ length: drawn }, () => h(`i.c${cluster.colours.get(name) ?? "x"}`));
  });
  return [h("div.squares", { aria: { hidden: "true" } }, squares),
    h("p.tally", {}, h("a", { href: `#/endpoints?q=${encodeURIComponent(node.name)}` }, count(ids.length, "endpoint")), counted.length <= TOLD ? counted.map(([name, number]) => h("span", {}, swatch(name), `${name} ${number}`)) : h("span", {}, `in ${counted.length} networks`))];
}

/** The same as the map, for those who rather read it. */
function hostTable() {
  const rows = bySegment().flatMap(([segment, nodes]) => nodes.map((node) => {
    const [kind, word] = liveness(node);
    const ids = (cluster.byNode.get(node.name) || []).filter(fits);
    return [link("host", node.name), state(kind, word), segment, (node.addresses || []).map((a) => a.split("/")[0]).join(", "),
      relation(node.name).map(([how, text]) => state(how, text)), tally(ids).map(([name, number]) => h("span.pair", {}, networkLink(name), ` ${number}`)), String(ids.length)];
  }));
  return table("Hosts", ["Host", "Agent", "Segment", "Addresses", `With ${cluster.here?.node || "this host"}`, "Networks", "Endpoints›"], rows);
}

/** Arrow keys go from card to card as they lie. */
function arrows(event) {
  const from = event.target.closest?.("li.host");
  if (!from || !event.key.startsWith("Arrow")) return;
  const box = from.getBoundingClientRect();
  const aim = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
  let best = null;
  for (const other of document.querySelectorAll("li.host")) {
    const at = other.getBoundingClientRect();
    const [x, y] = [at.left + at.width / 2 - box.left - box.width / 2, at.top - box.top];
    const along = x * aim[0] + y * aim[1];
    if (other === from || along <= 4) continue;
    const distance = along + 3 * Math.abs(x * aim[1] + y * aim[0]);
    if (!best || distance < best.distance) best = { distance, other };
  }
  if (!best) return;
  event.preventDefault();
  best.other.querySelector("a").focus();
}
