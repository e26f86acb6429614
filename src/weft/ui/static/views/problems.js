// What is amiss, and what to do about it.

import { advice, fill, h, keyed, words } from "../dom.js";
import { checked, problems } from "../findings.js";
import { ago, count } from "../format.js";
import { state } from "../parts.js";
import { ask, cluster, compare } from "../store.js";

const AT_ONCE = 4;

export function open(main) {
  const number = h("p.number", { role: "status" });
  const here = h("button", { type: "button" });
  const all = h("button", { type: "button" }, "Check all hosts");
  const list = h("ul.problems");
  const fine = h("p.none");
  fill(main, h("div.title", {}, h("h1", {}, "Problems"), number, h("div.tools", {}, here, all)), list, fine);
  here.addEventListener("click", () => check(cluster.here.node));
  all.addEventListener("click", () => checkAll());

  function draw() {
    const found = together(problems()).sort((a, b) => Number(b.result === "error") - Number(a.result === "error"));
    number.textContent = found.length ? count(found.length, "problem") : "";
    const node = cluster.here?.node || "this host";
    here.textContent = checked.get(node)?.asking ? `Checking ${node} …` : `Check ${node}`;
    all.hidden = cluster.nodes.size < 2;
    keyed(list, found.map((p) => [p.key, JSON.stringify(p), () => one(p)]));
    const times = [...checked].filter(([, said]) => said.time).map(([host, said]) => `${host} ${ago(said.time)} ago`);
    fine.textContent = found.length ? "" : times.length ? `Nothing amiss. Checked: ${times.slice(0, 8).join(", ")}${times.length > 8 ? " …" : ""}.` : "Nothing amiss as far as it is known.";
  }

  async function check(node) {
    if (checked.get(node)?.asking) return;
    checked.set(node, { ...checked.get(node), asking: true });
    cluster.tell(new Set());
    try {
      const far = node !== cluster.here.node;
      checked.set(node, { findings: await ask("api/agent/doctor", far ? { node } : {}), time: Date.now() / 1000 });
    } catch (error) {
      checked.set(node, { error: error.message });
    }
    cluster.tell(new Set());
  }

  async function checkAll() {
    const waiting = [...cluster.nodes.values()].filter((n) => n.alive && !n.foreign).map((n) => n.name);
    all.disabled = true;
    await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (waiting.length) await check(waiting.shift()); }));
    all.disabled = false;
  }

  draw();
  if (!checked.size && cluster.here) check(cluster.here.node);
  return { title: "Problems", update: draw };
}

/** What is the same on several hosts, once. */
function together(found) {
  const groups = new Map();
  for (const p of found) {
    const same = JSON.stringify([p.result, p.title, p.text, p.advice, p.fix, p.fault]);
    const group = groups.get(same);
    if (!group) groups.set(same, { ...p, hosts: [p.where] });
    else if (!group.hosts.includes(p.where)) group.hosts.push(p.where);
  }
  return [...groups.values()].map((p) => ({ ...p, where: p.hosts.sort(compare).join(", ") }));
}

function one(p) {
  return h(`li.problem.${p.result}`, {},
    h("div.head", {}, state(p.result === "error" ? "bad" : "warn", p.result), h("h2", {}, p.code ? h("code", {}, p.title) : p.title),
      h("span.where", {}, p.link ? h("a", { href: p.link }, p.where) : p.where), p.fault ? h("span.fault", {}, p.fault) : null),
    p.text ? h("p", {}, words(p.text)) : null,
    advice(p.advice, p.fix, p.where));
}
