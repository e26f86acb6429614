// A packet's way, hop by hop, there and back.

import { advice, command, fill, h } from "../dom.js";
import { count } from "../format.js";
import { state } from "../parts.js";
import { ask, cluster, compare } from "../store.js";

const OFFERED = 30;

export function open(main, _name, params) {
  const from = end("from", "From", params.get("from"));
  const to = end("to", "To", params.get("to"));
  const family = h("select", { id: "t-family" }, [["", "any"], ["4", "IPv4"], ["6", "IPv6"]].map(([value, text]) => h("option", { value }, text)));
  family.value = params.get("family") || "";
  const button = h("button.first", { type: "submit" }, "Trace");
  const result = h("div.traced", { aria: { live: "polite" } });
  const form = h("form.trace", {}, from.field, to.field, h("p", {}, h("label", { for: "t-family" }, "Family"), family), button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  fill(main, h("div.title", {}, h("h1", {}, "Trace")), form, result);

  async function run() {
    const asked = { from: from.input.value.trim(), to: to.input.value.trim(), family: family.value };
    if (!asked.from || !asked.to) return (asked.from ? to : from).input.focus();
    history.replaceState(null, "", `#/trace?${new URLSearchParams(Object.entries(asked).filter(([, value]) => value))}`);
    button.disabled = true;
    result.setAttribute("aria-busy", "true");
    try {
      show(result, await ask("api/trace", asked));
    } catch (error) {
      fill(result, h("p.refused", {}, error.message));
    }
    button.disabled = false;
    result.removeAttribute("aria-busy");
  }

  if (params.get("from") && params.get("to")) run();
  else fill(result, h("p.none", {}, "From an endpoint or a host to another one, or to any address: by name, HOST/NAME, id or address."));
  return { title: "Trace" };
}

/** A field that offers what fits. */
function end(id, title, value) {
  const offers = h("datalist", { id: `t-${id}-list` });
  const input = h("input", { id: `t-${id}`, list: `t-${id}-list`, autocomplete: "off", spellcheck: "false", required: true });
  input.value = value || "";
  const offer = () => fill(offers, offered(input.value).map((text) => h("option", { value: text })));
  input.addEventListener("input", offer);
  input.addEventListener("focus", offer);
  return { input, field: h("p.end", {}, h("label", { for: `t-${id}` }, title), input, offers) };
}

function offered(text) {
  const found = cluster.find(text).slice(0, OFFERED).map((id) => `${cluster.endpoints.get(id).node}/${cluster.endpoints.get(id).name}`);
  const hosts = [...cluster.nodes.keys()].filter((name) => name.includes(text)).sort(compare).slice(0, 8);
  return [...hosts, ...found];
}

function show(result, found) {
  fill(result,
    (found.notes || []).map((note) => h("p.note", {}, note)),
    h("div.ways", {}, way("There", found.origin, found.target, found.there), found.back ? way("Back", found.target, found.origin, found.back) : null));
}

function way(name, origin, target, path) {
  const id = `way-${name}`;
  const places = grouped(path.hops);
  const [kind, word] = ending(path.outcome);
  return h("section.way", { aria: { labelledby: id } },
    h("h2", { id }, name, h("span.ends", {}, `${origin} → ${target}`), state(kind, word)),
    h("ol.strip", { aria: { hidden: "true" } }, places.map((place, at) => h(`li${at === places.length - 1 ? `.${kind}` : ""}`, {}, h("b", {}, place.name.split("/").pop()), place.name.includes("/") ? h("small", {}, place.name.split("/")[0]) : null))),
    h("ol.places", {}, places.map((place) => h("li.place", {}, h("h3", {}, place.name), h("ol.hops", { start: place.first }, place.hops.map(hop))))),
    verdict(path, kind));
}

/** Hops that follow each other at one place. */
function grouped(hops) {
  const places = [];
  hops.forEach((one, at) => {
    const last = places[places.length - 1];
    if (last && last.name === one.place) last.hops.push({ ...one, number: at + 1 });
    else places.push({ name: one.place, first: at + 1, hops: [{ ...one, number: at + 1 }] });
  });
  return places;
}

function hop(one) {
  return h("li.hop", {}, h("span.number", {}, String(one.number)), h("span.step", {}, one.step), h("code.entry", {}, one.entry), one.result ? h("span.result", {}, one.result) : null);
}

function ending(outcome) {
  if (outcome.ending === "delivered") return ["good", "delivered"];
  if (outcome.ending === "left") return ["good", "leaves the cluster"];
  if (outcome.ending === "elsewhere" || outcome.ending === "depends") return ["warn", outcome.ending === "elsewhere" ? "goes on elsewhere" : "depends"];
  return ["bad", outcome.ending];
}

function verdict(path, kind) {
  const { outcome } = path;
  const size = kind === "good" ? `TTL ${path.ttl}, MTU ${path.mtu}, ${count(path.hops.length, "hop")}` : "";
  return h(`div.verdict.${kind}`, { role: "note" },
    h("p.ending", {}, kind === "bad" ? h("b", {}, "Ends here: ") : null, outcome.text),
    size ? h("p.size", {}, size) : null,
    outcome.fault ? h("p.fault", {}, "fault ", h("b", {}, outcome.fault)) : null,
    advice(outcome.advice),
    outcome.fix && !(outcome.advice || "").includes(`\`${outcome.fix}\``) ? command(outcome.fix, outcome.host) : null);
}
