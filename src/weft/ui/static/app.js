// The page: which view is shown, what is always there around it, keys.

import { h, renew } from "./dom.js";
import { ago, count } from "./format.js";
import { cluster, follow } from "./store.js";
import { problems } from "./findings.js";
import * as map from "./views/map.js";
import * as endpoints from "./views/endpoints.js";
import * as endpoint from "./views/endpoint.js";
import * as host from "./views/host.js";
import * as network from "./views/network.js";
import * as services from "./views/services.js";
import * as trace from "./views/trace.js";
import * as found from "./views/problems.js";

const VIEWS = [["", "Map", map], ["endpoints", "Endpoints", endpoints], ["services", "Services", services], ["trace", "Trace", trace], ["problems", "Problems", found]];
const PAGES = { endpoint, host, network, ...Object.fromEntries(VIEWS.map(([name, , view]) => [name, view])) };

const main = document.getElementById("main");
const news = document.getElementById("news");
let shown = null;

/** `#/host/node-1?x=y` is the view `host` of `node-1`. */
export function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/");
  return { view, name: rest.map(decodeURIComponent).join("/"), params: new URLSearchParams(query) };
}

function open(focus = true) {
  const { view, name, params } = place();
  shown?.close?.();
  const page = PAGES[view] || map;
  shown = page.open(main, name, params);
  document.title = `${shown.title} · Weft`;
  main.dataset.view = view || "map";
  menu(view);
  window.scrollTo(0, 0);
  if (focus) main.focus({ preventScroll: true });
}

function menu(view) {
  const amiss = cluster.known ? problems().filter((p) => p.result !== "ok").length : 0;
  const at = { endpoint: "endpoints", host: "", network: "" }[view] ?? view;
  const links = VIEWS.map(([name, title]) => {
    const number = name === "problems" && amiss ? h("span.count.bad", { aria: { label: `${amiss} found` } }, String(amiss)) : null;
    return h("a", { href: `#/${name}`, aria: name === at ? { current: "page" } : {} }, title, number);
  });
  renew(document.getElementById("views"), links);
}

// -- what changes ----------------------------------------------------------------------------------------------------

const before = { alive: new Map(), away: "" };

function heard(changed) {
  banner();
  foot();
  if (!cluster.known) return;
  announce();
  if (!shown) return open(false);
  shown.update?.(changed);
  menu(place().view);
}

function banner() {
  const text = cluster.ended || cluster.away || cluster.problem;
  const element = document.getElementById("banner");
  element.hidden = !text;
  if (element.textContent !== text) element.textContent = text;
}

/** For those who do not see it change. */
function announce() {
  const said = [];
  for (const [name, node] of cluster.nodes) {
    const was = before.alive.get(name);
    if (was !== undefined && was !== node.alive) said.push(node.alive ? `${name} is back.` : `${name} is silent.`);
  }
  before.alive = new Map([...cluster.nodes].map(([name, node]) => [name, node.alive]));
  if (said.length) news.textContent = said.join(" ");
}

function foot() {
  const here = cluster.here;
  if (!here) return;
  const store = here.store;
  const state = store.state === "connected" ? "connected" : `${store.state} for ${ago(store.since)}`;
  renew(document.getElementById("foot"),
    h("span", {}, `seen by ${here.node}, weft ${here.version}`),
    h(`span.state.${here.state === "converged" ? "good" : here.state === "degraded" ? "bad" : "warn"}`, {}, here.state),
    h("span", {}, `store ${state}`),
    h("span", {}, count(cluster.endpoints.size, "endpoint")),
    h("span", {}, count(cluster.nodes.size, "host")));
}

// -- always there ----------------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];

function theme(wanted) {
  if (wanted === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  const button = document.getElementById("theme");
  button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[wanted];
  button.setAttribute("aria-label", `Colours: ${wanted}. Change`);
  button.dataset.now = wanted;
}

function stored() {
  try {
    return THEMES.includes(localStorage.getItem("weft-theme")) ? localStorage.getItem("weft-theme") : "auto";
  } catch {
    return "auto";
  }
}

function listen() {
  theme(stored());
  document.getElementById("theme").addEventListener("click", (event) => {
    const next = THEMES[(THEMES.indexOf(event.currentTarget.dataset.now) + 1) % THEMES.length];
    try { localStorage.setItem("weft-theme", next); } catch { /* it lasts for as long as the page does */ }
    theme(next);
  });
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  const text = document.getElementById("find-text");
  text.addEventListener("input", () => {
    const to = `#/endpoints?q=${encodeURIComponent(text.value)}`;
    if (place().view === "endpoints") {
      history.replaceState(null, "", to);
      shown.search(text.value);
    } else if (text.value) {
      history.pushState(null, "", to);
      if (cluster.known) open(false);
    }
  });
  document.getElementById("find").addEventListener("submit", (event) => {
    event.preventDefault();
    shown?.enter?.();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      shown?.enter?.();
    }
  });
  document.addEventListener("keydown", keys);
  window.addEventListener("hashchange", () => {
    if (place().view !== "endpoints") text.value = "";
    if (cluster.known) open();
  });
}

function keys(event) {
  const typing = /^(input|textarea|select)$/i.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    document.getElementById("find-text").focus();
  } else if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (!shown?.escape?.() && location.hash.length > 2) history.back();
  }
}

listen();
menu(place().view);
cluster.addEventListener("change", (event) => heard(event.detail));
follow();
