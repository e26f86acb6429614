// A packet's way, hop by hop, there and back.

import { advice, fill, h, words } from "../dom.js";
import { count } from "../format.js";
import { state } from "../parts.js";
import { ask, cluster, compare } from "../store.js";

const OFFERED = 30;

export function open(main, _name, params) {
  const from = end("from", "From", params.get("from"));
  const to = end("to", "To", params.get("to"));
  const family = h("select", { id: "t-family" }, [["", "any"], ["4", "IPv4"], ["6", "IPv6"]].map(([value, text]) => h("option", { value }, text)));
  family.value = params.get("family") || "";
  const protocol = h("select", { id: "t-protocol" }, [["", "any"], ["tcp", "TCP"], ["udp", "UDP"], ["icmp", "ICMP"], ["sctp", "SCTP"]].map(([value, text]) => h("option", { value }, text)));
  protocol.value = params.get("protocol") || "";
  const port = h("input.port", { id: "t-port", inputmode: "numeric", pattern: "[0-9]*", maxlength: 5, autocomplete: "off" });
  port.value = params.get("port") || "";
  const button = h("button.first", { type: "submit" }, "Trace");
  const result = h("div.traced");
  const form = h("form.trace", {}, from.field, to.field, h("p", {}, h("label", { for: "t-protocol" }, "Protocol"), protocol), h("p", {}, h("label", { for: "t-port" }, "Port"), port), h("p", {}, h("label", { for: "t-family" }, "Family"), family), button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  fill(main, h("div.title", {}, h("h1", {}, "Trace")), form, result);

  async function run() {
    const asked = { from: from.input.value.trim(), to: to.input.value.trim(), protocol: protocol.value, port: port.value.trim(), family: family.value };
    if (!asked.from || !asked.to) return (asked.from ? to : from).input.focus();
    history.replaceState(null, "", `#/trace?${new URLSearchParams(Object.entries(asked).filter(([, value]) => value))}`);
    button.disabled = true;
    result.setAttribute("aria-busy", "true");
    try {
      show(result, await ask("api/trace", asked), asked);
    } catch (error) {
      fill(result, h("p.refused", {}, error.message));
    }
    button.disabled = false;
    result.removeAttribute("aria-busy");
  }

  if (params.get("from") && params.get("to")) run();
  else fill(result, h("p.none", {}, "From an endpoint or a host to another one, a service, or any address: by name, HOST/NAME, id or address. Without a port it is a ping."));
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
  const services = [...cluster.services.keys()].filter((name) => name.includes(text)).sort(compare).slice(0, 8);
  return [...hosts, ...services, ...found];
}

function show(result, found, asked) {
  document.getElementById("news").textContent = [["there", found.there], ["back", found.back]].filter(([, path]) => path).map(([name, path]) => `${name}: ${path.outcome.text}`).join("; ");
  const live = h("section.live", { aria: { labelledby: "t-live" } });
  offer(live, asked);
  fill(result,
    (found.notes || []).map((note) => h("p.note", {}, note)),
    h("div.ways", {}, way("There", found.origin, found.target, found.there), found.back ? way("Back", found.target, found.origin, found.back) : null),
    live);
}

/** To send the packet for real: only when the button is pressed. */
function offer(live, asked, failed = "") {
  const button = h("button", { type: "button" }, "Send it for real");
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Sending a packet, and watching it …";
    try {
      const { page } = await ask("api/page");
      proven(live, (await ask("api/live", asked, { method: "POST", headers: { "Weft-Page": page } })).live);
    } catch (error) {
      offer(live, asked, error.message);
    }
  });
  fill(live, h("h2", { id: "t-live" }, "Live"),
    h("p.asked", {}, "Sends one such packet and watches it on every host on its way, for some seconds. It leaves nothing behind."),
    failed ? h("p.refused", {}, failed) : null, button);
}

function proven(live, proof) {
  const good = proof.end === "answered" || proof.end === "arrived";
  const sent = proof.sights.filter((sight) => sight.what === "probe");
  const others = proof.sights.filter((sight) => sight.what !== "probe");
  const hosts = [...new Set(others.map((sight) => sight.place.split("/")[0]))].reverse();
  const back = hosts.flatMap((name) => others.filter((sight) => sight.place.split("/")[0] === name));
  fill(live, h("h2", { id: "t-live" }, "Live", state(good ? "good" : "bad", proof.end)),
    h(`div.verdict.${good ? "good" : "bad"}`, { role: "note" }, h("p.ending", {}, words(proof.text)),
      proof.rule ? advice(`See it on ${proof.rule.place.split("/")[0]}: \`${proof.rule.show}\``) : null,
      proof.faults.length ? h("p.fault", {}, `what such a drop is evidence of: ${proof.faults.join(", ")}`) : null,
      h(proof.agrees ? "p.size" : "p.differs", {}, proof.agrees ? "as the tables say" : `differs from what the tables say: ${proof.differs}`)),
    h("div.ways", {}, seen("What was sent", sent), back.length ? seen("What came back", back) : null),
    proof.unseen.map((text) => h("p.note", {}, `not seen: ${text}`)));
}

/** In order, under the places where the packet was seen. */
function seen(title, sights) {
  const places = [];
  for (const sight of sights) {
    const last = places[places.length - 1];
    if (last?.name === sight.place) last.sights.push(sight);
    else places.push({ name: sight.place, sights: [sight] });
  }
  return h("div.way", {}, h("h3", {}, title), h("ol.places", {}, places.map((place) => h("li.place", {}, h("h4", {}, place.name), h("ol", {}, place.sights.map(sighted))))));
}

function sighted(sight) {
  const what = sight.point === "drop" ? `${sight.reason || "dropped"}${sight.function ? ` in ${sight.function}` : ""}` : `${sight.addresses}${sight.tunnel ? ` in ${sight.tunnel}` : ""}`;
  return h(`li.sight.${sight.point}`, {}, h("span.after", {}, `${Math.round(sight.after).toLocaleString("en")} µs`), h("span", {}, sight.point), h("span", {}, sight.device), h("span.what", {}, what));
}

function way(name, origin, target, path) {
  const id = `way-${name}`;
  const places = grouped(path.hops);
  const [kind, word] = ending(path.outcome);
  const stations = places.map((place) => place.name);
  if (stations[stations.length - 1] !== path.outcome.place) stations.push(path.outcome.place);
  return h("section.way", { aria: { labelledby: id } },
    h("h2", { id }, name, h("span.ends", {}, `${origin} → ${target}`), state(kind, word)),
    h("ol.strip", { aria: { hidden: "true" } }, stations.map((name, at) => h(`li${at === stations.length - 1 ? `.${kind}` : ""}`, {}, h("b", {}, name.split("/").pop()), name.includes("/") ? h("small", {}, name.split("/")[0]) : null))),
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
    h("p.ending", {}, kind === "bad" ? h("b", {}, "Ends here: ") : null, words(outcome.text)),
    size ? h("p.size", {}, size) : null,
    outcome.fault ? h("p.fault", {}, "fault ", h("b", {}, outcome.fault)) : null,
    advice(outcome.advice, outcome.fix, outcome.host));
}
