// A long list of which only what is seen is drawn: rows of one height, in a window that scrolls.

import { h, keyed } from "./dom.js";

const MORE = 6;

/** `make(item)`: a row, whose first link is what is focused. `sign(item)`: changes where the row does. */
export class List {
  constructor({ label, make, sign, key = (item) => item, heads = [] }) {
    Object.assign(this, { make, sign, key });
    this.items = [];
    this.at = 0;
    this.rows = h("div.rows", { role: "rowgroup" });
    this.head = h("div.row.head", { role: "row" }, heads.map((head) => h("span", { role: "columnheader" }, head)));
    this.window = h("div.window", {}, h("div.heads", { role: "rowgroup" }, this.head), this.rows);
    this.element = h("div.list", { role: "table", aria: { label } }, this.window);
    this.window.addEventListener("scroll", () => this.draw(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.key_(event));
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.window);
  }

  close() {
    this.watch.disconnect();
  }

  show(items) {
    this.items = items;
    this.element.setAttribute("aria-rowcount", items.length + 1);
    this.draw();
  }

  get height() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 36;
  }

  draw() {
    const height = this.height;
    const first = Math.max(0, Math.floor(this.window.scrollTop / height) - MORE);
    const seen = Math.ceil((this.window.clientHeight || 600) / height) + 2 * MORE;
    const some = this.items.slice(first, first + seen);
    this.rows.style.setProperty("height", `${this.items.length * height}px`);
    keyed(this.rows, some.map((item, at) => [String(this.key(item)), `${first + at} ${this.sign(item)}`, () => {
      const row = this.make(item);
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", first + at + 2);
      row.style.setProperty("top", `${(first + at) * height}px`);
      const link = row.querySelector("a");
      if (link) {
        link.dataset.at = this.key(item);
        link.dataset.index = first + at;
      }
      return row;
    }]));
  }

  key_(event) {
    const from = event.target.closest("a[data-index]");
    if (!from) return;
    const page = Math.max(1, Math.floor(this.window.clientHeight / this.height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.items.length, End: this.items.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.focus(Number(from.dataset.index) + steps[event.key]);
  }

  /** The row of this number, or the nearest there is. */
  focus(number) {
    if (!this.items.length) return;
    const at = Math.min(this.items.length - 1, Math.max(0, number));
    const height = this.height;
    const top = at * height;
    const head = this.rows.offsetTop;
    const seen = this.window.clientHeight - head;
    if (top < this.window.scrollTop) this.window.scrollTop = top;
    if (top + height > this.window.scrollTop + seen) this.window.scrollTop = top + height - seen;
    this.draw();
    this.rows.querySelector(`a[data-index="${at}"]`)?.focus({ preventScroll: true });
  }
}
