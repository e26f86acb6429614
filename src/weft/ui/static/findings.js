// What is amiss, from all that the page knows: each with where it is, and what to do.

import { ago } from "./format.js";
import { cluster } from "./store.js";

/** Findings of `weft doctor`, by host, as far as somebody asked for them: {findings, time} or {error} or {asking}. */
export const checked = new Map();

/** {key, result: "error" | "warning", where, title, text, advice, fix, link, fault} of each. */
export function problems() {
  return [...ofStore(), ...ofNodes(), ...ofObjects(), ...ofStatus(), ...ofSessions(), ...ofServices(), ...ofDoctor()];
}

function* ofStore() {
  const here = cluster.here;
  if (!here || here.store.state === "connected") return;
  yield {
    key: "store", result: "error", where: here.node, title: `the store is ${here.store.state}`,
    text: `${here.store.url}: ${here.store.reason || "no reason is known"} (for ${ago(here.store.since)})`,
    advice: "What stands in the kernel stays as it is. `weft store` says what can be done.",
  };
}

function* ofNodes() {
  for (const node of cluster.nodes.values()) {
    if (node.alive || node.foreign) continue;
    yield {
      key: `node ${node.name}`, result: node.withdrawn ? "error" : "warning", where: node.name, link: `#/host/${encodeURIComponent(node.name)}`,
      title: node.withdrawn ? `${node.name} is dead` : `${node.name} is silent`,
      text: node.evidence || (node.withdrawn ? "Its routes are withdrawn." : "Its agent does not reach the store."), advice: `On ${node.name}: \`weft status\`, and \`systemctl status weft-agent\`.`,
    };
  }
}

function* ofObjects() {
  const here = cluster.here;
  for (const trouble of here?.troubles || []) {
    yield {
      key: `object ${trouble.object}`, result: "error", where: here.node, title: trouble.object, code: true, text: trouble.reason,
      advice: "It is tried again by itself. `weft plan` shows what would be done.",
    };
  }
}

function* ofStatus() {
  const here = cluster.here;
  for (const problem of here?.problems || []) {
    const about = [problem.network && `network ${problem.network}`, problem.peer && `host ${problem.peer}`].filter(Boolean).join(", ");
    yield { key: `problem ${about} ${problem.text}`, result: "warning", where: here.node, title: about || "this host", text: problem.text, advice: "" };
  }
}

function* ofSessions() {
  for (const [key, s] of cluster.sessions) {
    if (s.state === "Established") continue;
    yield {
      key: `bgp ${key}`, result: "error", where: cluster.here?.node || "", title: `BGP with ${s.name} (${s.address}) is ${s.state}`,
      text: s.reason || s.last_error || "", advice: s.advice || "",
    };
  }
}

function* ofServices() {
  for (const [key, found] of cluster.services) {
    const base = { where: cluster.here?.node || "", link: `#/services?at=${encodeURIComponent(key)}` };
    for (const text of found.problems || []) yield { ...base, key: `service ${key} ${text}`, result: "warning", title: `service ${key}`, text, advice: "" };
    const members = found.members || [];
    if (members.length && !members.some((m) => m.state === "ready")) {
      yield { ...base, key: `service ${key} members`, result: "error", title: `service ${key} has no ready member`, text: members.map((m) => `${m.name}: ${m.reason || m.state}`).join("; "), advice: "" };
    }
  }
}

function* ofDoctor() {
  for (const [host, said] of checked) {
    if (said.error) yield { key: `doctor ${host}`, result: "warning", where: host, title: "could not be checked", text: said.error, advice: "" };
    for (const found of said.findings || []) {
      if (found.result === "ok") continue;
      yield { key: `doctor ${host} ${found.check} ${found.detail}`, result: found.result, where: found.host || host, title: found.check, text: found.detail, advice: found.advice, fix: found.fix, fault: found.fault };
    }
  }
}
