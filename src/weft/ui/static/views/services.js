// Services and their members.

import { facts, fill, h, renew, table } from "../dom.js";
import { count } from "../format.js";
import { link, networkLink, section, state, title } from "../parts.js";
import { cluster, compare } from "../store.js";

export function open(main, _name, params) {
  const body = h("div.page");
  fill(main, body);

  function draw() {
    const wanted = params.get("at");
    const found = [...cluster.services].sort(([a], [b]) => compare(a, b));
    renew(body, title("Services", h("p.number", {}, count(found.length, "service"))),
      found.length ? null : h("p.none", {}, "No services: ", h("code", {}, "weft service create NAME --network N --port 80 --select app=web")),
      found.map(([key, s]) => one(key, s, key === wanted)));
  }

  draw();
  if (params.get("at")) body.querySelector(".wanted")?.scrollIntoView({ block: "start" });
  return { title: "Services", update: (changed) => changed.has("services") && draw() };
}

function one(key, { service, members = [], problems = [] }, wanted) {
  const ready = members.filter((m) => m.state === "ready").length;
  const kind = ready === members.length && ready ? "good" : ready ? "warn" : "bad";
  const made = section(service.name,
    h("p.shares", {}, networkLink(service.network), state(kind, `${ready} of ${count(members.length, "member")} ready`)),
    problems.map((text) => h("p.evidence", {}, text)),
    facts([["Addresses", (service.addresses || []).map((a) => h("code.line", {}, a))], ["Ports", (service.ports || []).map((p) => h("code.line", {}, `${p.port} → ${p.target ?? p.port}/${p.protocol || "tcp"}`))],
      ["Published", (service.published || []).map((p) => h("code.line", {}, `${p.host_ip ? `${p.host_ip}:` : ""}${p.host_port} → ${p.port ?? p.container_port ?? ""}/${p.protocol || "tcp"}`))], ["Selects", service.select ? h("code", {}, service.select) : ""], ["Mode", service.mode], ["Affinity", service.affinity === "none" ? "" : service.affinity]]),
    table(`Members of ${key}`, ["Member", "Host", "State", "Why", "Addresses", "Connections›"], members.map((m) => [
      link("endpoint", m.id, m.name), link("host", m.node), state(m.state === "ready" ? "good" : m.state === "draining" ? "warn" : "bad", m.state), m.reason || "", (m.addresses || []).map((a) => h("code.line", {}, a)), m.connections === null || m.connections === undefined ? "–" : String(m.connections)]), "no members"));
  if (wanted) made.classList.add("wanted");
  return made;
}
