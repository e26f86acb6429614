// What the agent said last, as tables of rows by key; who listens hears which tables changed.

const TABLES = ["status", "nodes", "networks", "endpoints", "services", "sessions", "peers", "links"];
const COLOURS = 10;

class Cluster extends EventTarget {
  constructor() {
    super();
    for (const name of TABLES) this[name] = new Map();
    this.known = false;
    this.away = "";
    this.ended = "";
    this.problem = "";
    this.time = 0;
    this.rates = new Map();
    this.byNode = new Map();
    this.byNetwork = new Map();
    this.colours = new Map();
    this.texts = new Map();
  }

  /** An answer of the operation `topology`. */
  take(said) {
    const changed = new Set();
    const first = !this.known;
    for (const name of TABLES) {
      const rows = said[name];
      if (said.whole) {
        const before = this[name];
        this[name] = new Map(Object.entries(rows || {}));
        if (first || before.size || this[name].size) changed.add(name);
      } else if (rows) {
        changed.add(name);
        for (const [key, row] of Object.entries(rows)) {
          if (row === null) this[name].delete(key);
          else this[name].set(key, row);
        }
      }
      if (name === "links" && rows) this.measure(rows, said.time);
    }
    if (said.whole || said.endpoints) this.group(said.whole ? null : said.endpoints);
    if (changed.has("networks")) this.colour();
    this.known = true;
    this.away = "";
    this.problem = said.problem || "";
    this.time = said.time;
    this.tell(changed);
  }

  unknown(message) {
    this.away = message;
    this.tell(new Set());
  }

  end(message) {
    this.ended = message;
    this.tell(new Set());
  }

  tell(changed) {
    this.dispatchEvent(new CustomEvent("change", { detail: changed }));
  }

  /** Rates from two readings of counters. */
  measure(rows, time) {
    for (const [name, link] of Object.entries(rows)) {
      if (link === null) {
        this.rates.delete(name);
        continue;
      }
      const now = { time, received: link.received_octets || 0, sent: link.sent_octets || 0 };
      const before = this.rates.get(name);
      const seconds = before ? time - before.time : 0;
      if (seconds > 0.5) {
        now.in = Math.max(0, now.received - before.received) / seconds;
        now.out = Math.max(0, now.sent - before.sent) / seconds;
      }
      if (!before || seconds > 0.5) this.rates.set(name, now);
    }
  }

  /** In octets per second; nothing until there are two readings. What is not told again has not changed. */
  rate(name) {
    const found = this.rates.get(name);
    if (!found || found.in === undefined) return {};
    return this.time - found.time > 5 ? { in: 0, out: 0 } : found;
  }

  group(changed) {
    this.byNode = groupBy(this.endpoints, "node");
    this.byNetwork = groupBy(this.endpoints, "network");
    if (changed) for (const id of Object.keys(changed)) this.texts.delete(id);
    else this.texts.clear();
  }

  /** Each network has a colour by its name, and keeps it as far as others leave it room. */
  colour() {
    const taken = new Set();
    this.colours.clear();
    for (const name of [...this.networks.keys()].sort()) {
      let at = hash(name) % COLOURS;
      for (let tries = 0; tries < COLOURS && taken.has(at); tries += 1) at = (at + 1) % COLOURS;
      taken.add(at);
      this.colours.set(name, at);
    }
  }

  get here() {
    return [...this.status.values()][0];
  }

  /** What an endpoint can be found by. */
  text(id) {
    let found = this.texts.get(id);
    if (found === undefined) {
      const e = this.endpoints.get(id);
      const labels = Object.entries(e.labels || {}).map(([key, value]) => `${key}=${value}`);
      found = [e.name, id, e.network, e.node, `${e.node}/${e.name}`, e.mac, ...(e.addresses || []), ...labels, ...(e.aliases || [])].join("\n").toLowerCase();
      this.texts.set(id, found);
    }
    return found;
  }

  /** Ids of endpoints that fit every word, in the order of their names. */
  find(text, networks = new Set()) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (const [id, e] of this.endpoints) {
      if (networks.size && !networks.has(e.network)) continue;
      if (words.length) {
        const all = this.text(id);
        if (!words.every((word) => all.includes(word))) continue;
      }
      found.push(id);
    }
    const order = (id) => this.endpoints.get(id);
    return found.sort((a, b) => compare(order(a).name, order(b).name) || compare(a, b));
  }
}

function groupBy(rows, field) {
  const groups = new Map();
  for (const [id, row] of rows) {
    const group = groups.get(row[field]);
    if (group) group.push(id);
    else groups.set(row[field], [id]);
  }
  return groups;
}

function hash(text) {
  let value = 2166136261;
  for (const char of text) value = Math.imul(value ^ char.codePointAt(0), 16777619) >>> 0;
  return value;
}

const collator = new Intl.Collator("en", { numeric: true });
export const compare = collator.compare;

export const cluster = new Cluster();

/** Events of the server, for ever. What the browser cannot take up again by itself is begun anew. */
export function follow() {
  let last = Date.now();
  const source = new EventSource("api/events");
  const heard = () => { last = Date.now(); };
  source.addEventListener("topology", (event) => {
    heard();
    cluster.take(JSON.parse(event.data));
  });
  source.addEventListener("away", (event) => {
    heard();
    cluster.unknown(JSON.parse(event.data).message);
  });
  source.addEventListener("alive", heard);
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return cluster.unknown("The connection to `weft ui` broke off; it is tried again.");
    clearInterval(watch);
    lost();
  });
  const watch = setInterval(() => {
    if (Date.now() - last < 35000) return;
    source.close();
    clearInterval(watch);
    lost();
  }, 5000);
}

/** Why there are no events: the cookie is of an earlier command, or nobody answers. */
async function lost() {
  try {
    await ask("api/page");
    follow();
  } catch (error) {
    if (error.status === 401) return cluster.end("`weft ui` was started anew: open the address that it printed.");
    cluster.unknown("`weft ui` does not answer: has it ended?");
    setTimeout(lost, 3000);
  }
}

/** JSON of the server. Throws an Error with what it says, in a line. */
export async function ask(path, params = {}, options = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== "" && value !== undefined));
  const text = query.toString();
  let answer;
  try {
    answer = await fetch(text ? `${path}?${text}` : path, options);
  } catch {
    throw new Error("`weft ui` does not answer: has it ended?");
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(body.message || `HTTP status ${answer.status}`), { status: answer.status });
  return body;
}
