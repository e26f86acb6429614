// An endpoint's connections, as the conntrack of its host has them; asked for when somebody wants to see them.

import { h, fill, table } from "../dom.js";
import { count, octets } from "../format.js";
import { state } from "../parts.js";
import { ask, cluster } from "../store.js";

const MOST = 100;

export function connections(id, node) {
  const body = h("div");
  const button = h("button", { type: "button", onclick: () => learn() }, "Show");
  const section = h("section", { aria: { labelledby: "s-connections" } }, h("h2", { id: "s-connections" }, "Connections"), body, h("p.more", {}, button));

  section.own = true;

  async function learn() {
    button.disabled = true;
    try {
      const far = node !== cluster.here?.node;
      show(await ask("api/agent/flows", { endpoint: id, limit: String(MOST), ...(far ? { node } : {}) }));
      button.textContent = "Show again";
    } catch (error) {
      fill(body, h("p.none", {}, error.message));
    }
    button.disabled = false;
  }

  function show(page) {
    const rows = page.flows.map((f) => [
      f.protocol, end(f.source, f.translated, "as"), end(f.target, f.member, "to"), f.cut ? state("bad", "cut off by policy") : f.state,
      size(f.octets), size(f.reply_octets)]);
    fill(body, table(`Connections, ${count(page.total, "in all", "in all")}`, ["Protocol", "From", "To", "State", "There›", "Back›"], rows, "No connections now."),
      page.total > rows.length ? h("p.none", {}, `the largest ${rows.length} of ${page.total}`) : null,
      page.accounting || !rows.length ? null : h("p.none", {}, "Their host does not count octets: sysctl net.netfilter.nf_conntrack_acct=1"),
      (page.problems || []).map((text) => h("p.evidence", {}, text)));
  }

  return section;
}

const size = (value) => (value === null || value === undefined ? "–" : octets(value));

function end(one, other, word) {
  const text = (e) => `${e.name ? (e.node && e.kind === "container" ? `${e.node}/${e.name}` : e.name) : e.address}${e.port ? `:${e.port}` : ""}`;
  return [h("code.line", { title: one.address }, text(one)), other ? h("small", {}, `${word} ${text(other)}`) : null];
}
