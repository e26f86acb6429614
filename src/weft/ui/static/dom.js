// Elements are made here and nowhere else. Text is always text: there is no way to write HTML.

/** `h("a.cls", {href, onclick, aria: {label}}, ...children)`. Children: nodes, texts, lists of these, nothing. */
export function h(what, props = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  set(element, props);
  append(element, children);
  return element;
}

function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) listen(element, name.slice(2), value);
    else if (name === "aria") for (const [key, said] of Object.entries(value)) element.setAttribute(`aria-${key}`, said);
    else if (name === "style") for (const [key, said] of Object.entries(value)) element.style.setProperty(key, said);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** By way of `element.on`, so that `renew` can give an element another listener. */
function listen(element, name, listener) {
  element.on = { ...element.on, [name]: listener };
  element.addEventListener(name, (event) => element.on[name](event));
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child.own && child.isConnected ? standIn(child) : child);
  }
}

export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** As `fill`, but what is there and fits is changed where it stands: focus, selection and places in windows that scroll stay. Only
 * for elements made anew; one that lives on by itself is marked by `own`. */
export function renew(element, ...children) {
  const wanted = document.createElement("div");
  append(wanted, children);
  morph(element, wanted);
  return element;
}

function standIn(child) {
  const slot = document.createElement("slot");
  slot.standsFor = child;
  return slot;
}

function morph(old, wanted) {
  const there = [...old.childNodes];
  [...wanted.childNodes].forEach((node, at) => {
    const found = there[at];
    const meant = node.standsFor || node;
    if (found === meant) return;
    if (!found) old.append(meant);
    else if (meant.own || found.own || found.nodeName !== node.nodeName) found.replaceWith(meant);
    else if (node.nodeType === Node.TEXT_NODE) found.data = found.data === node.data ? found.data : node.data;
    else {
      attributes(found, node);
      found.on = node.on;
      morph(found, node);
    }
  });
  for (const extra of there.slice(wanted.childNodes.length)) if (extra.parentNode === old) extra.remove();
}

function attributes(old, wanted) {
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

/** Keeps what has focus: an element with the same `data-at` gets it back. */
export function keepingFocus(root, work) {
  const held = root.contains(document.activeElement) ? document.activeElement.dataset.at : undefined;
  work();
  if (held && !root.contains(document.activeElement)) root.querySelector(`[data-at="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}

/** Children of `parent` by key: those whose signature is the same stay as they are. `rows`: [key, signature, make]. */
export function keyed(parent, rows) {
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const [key, signature, make] of rows) {
    let child = there.get(key);
    there.delete(key);
    if (!child || child.dataset.sig !== signature) {
      const made = make();
      made.dataset.key = key;
      made.dataset.sig = signature;
      if (child) keepingFocus(parent, () => child.replaceWith(made));
      child = made;
    }
    const next = before ? before.nextSibling : parent.firstChild;
    if (next !== child) parent.insertBefore(child, next);
    before = child;
  }
  for (const child of there.values()) child.remove();
}

/** A term and what it is; without a value, nothing. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  return h("dl.facts", {}, shown.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
}

export function table(caption, heads, rows, empty = "none") {
  if (!rows.length) return h("p.none", {}, empty);
  return h("div.scroll", { tabindex: 0, role: "group", aria: { label: caption } },
    h("table", {},
      h("caption.unseen", {}, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h(`th${head.endsWith("›") ? ".number" : ""}`, { scope: "col" }, head.replace("›", ""))))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, at) => h(`td${heads[at].endsWith("›") ? ".number" : ""}`, {}, cell)))))));
}

/** A command with a button that copies it. */
export function command(text, where = "") {
  return h("div.command", {}, where && h("span.where", {}, `on ${where}`), h("code", {}, text), copyButton(text));
}

function copyButton(text) {
  const copied = async ({ currentTarget: button }) => {
    await copy(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  return h("button.copy", { type: "button", aria: { label: `Copy the command ${text}` }, onclick: copied }, "Copy");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea.unseen", { readonly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

/** Words, of which those in backticks are code. */
export function words(text) {
  return (text || "").split(/`([^`]+)`/).map((part, at) => (at % 2 ? h("code", {}, part) : part));
}

/** Advice in words, in which each command can be copied; and the command that mends it, to be run on `where`. */
export function advice(text, fix = "", where = "") {
  if (fix && new RegExp(`^(on \\S+: )?\`${fix.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}\`$`).test(text || "")) text = "";
  const parts = (text || "").split(/`([^`]+)`/);
  const said = parts.map((part, at) => (at % 2 ? h("span.said", {}, h("code", {}, part), part === fix ? null : copyButton(part)) : part));
  return [text ? h("p.advice", {}, said) : null, fix ? command(fix, where) : null];
}
