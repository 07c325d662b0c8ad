// The tree as a table for keyboard and screen reader: a treegrid with one row in the tab order and arrow keys.

import { bar, byId, el, keyed, setText } from "./dom.js";
import { leaning, number, percent, setTime, signed, time, verdict } from "./format.js";

const FEW = 8;

export class TreeGrid {
  #table = byId("tree-table");
  #open = new Set();
  #all = false;
  #current = null; // id of the row in the tab order
  #picked = null;

  constructor(onPick) {
    this.onPick = onPick;
    this.#table.addEventListener("keydown", (event) => this.#key(event));
    this.#table.addEventListener("click", (event) => this.#click(event));
    this.#table.addEventListener("focusin", (event) => {
      const row = event.target.closest("tr[data-key]");
      if (row) this.#rove(row);
    });
    byId("tree-more").addEventListener("click", () => {
      this.#all = !this.#all;
      this.show(this.last);
    });
  }

  /** Forget what was open: another person. */
  reset() {
    this.#open.clear();
    this.#all = false;
    this.#picked = null;
    this.#current = null;
    this.fresh = true;
  }

  pick(id) {
    this.#picked = id;
    if (this.last) this.show(this.last);
  }

  show(tree, now = Date.now()) {
    this.last = tree;
    const groups = tree.groups(now);
    if (this.fresh && groups.length) {
      const first = groups[0].rows.find((row) => row.children.length);
      if (first) this.#open.add(first.node.id);
      this.fresh = false;
    }
    const hidden = groups.reduce((count, group) => count + Math.max(0, group.rows.length - FEW), 0);
    const more = byId("tree-more");
    more.hidden = hidden === 0;
    setText(more, this.#all ? "Show fewer" : `Show ${hidden} more`);
    byId("tree-none").hidden = groups.length > 0;
    this.#table.hidden = groups.length === 0;
    keyed(
      this.#table,
      [{ id: "caption" }, { id: "head" }, ...groups],
      (group) => group.id,
      () => el("tbody", {}),
      (body, group) => group.rows && this.#body(body, group),
    );
    const rows = this.#rows();
    const current = rows.find((row) => row.dataset.key === this.#current) ?? rows[0];
    if (current) this.#rove(current);
  }

  #body(body, group) {
    const shown = this.#all ? group.rows : group.rows.slice(0, FEW);
    const model = group.rows[0].node.model;
    const rows = [{ id: `head-${group.id}`, title: group.title, model }];
    shown.forEach((row, index) => {
      const open = this.#open.has(row.node.id);
      rows.push({ id: row.node.id, node: row.node, depth: 1, of: shown.length, at: index + 1, open: row.children.length ? open : null });
      if (open) row.children.forEach((child, place) => rows.push({ id: child.node.id, node: child.node, depth: 2, of: row.children.length, at: place + 1, open: null }));
    });
    keyed(body, rows, (row) => row.id, (row) => (row.title ? heading(row) : line()), (element, row) => (row.node ? this.#fill(element, row) : madeBy(element, row)));
  }

  #fill(row, { node, depth, of, at, open }) {
    const side = verdict(leaning(node));
    row.setAttribute("aria-level", depth);
    row.setAttribute("aria-setsize", of);
    row.setAttribute("aria-posinset", at);
    row.setAttribute("aria-selected", String(node.id === this.#picked));
    if (open === null) row.removeAttribute("aria-expanded");
    else row.setAttribute("aria-expanded", String(open));
    const [name, weight, sign, events, last] = row.cells;
    setText(name.querySelector(".name"), node.name);
    name.title = node.path;
    name.querySelector(".twist").classList.toggle("leaf", open === null);
    setText(events, String(node.count));
    setTime(last.firstElementChild, node.last_ms);
    row.classList.toggle("learned", node.level === "learned");
    if (node.level === "learned") return; // no sum of events: it has neither a weight of its own nor a sign
    setText(weight.querySelector(".figure"), number(node.now));
    setText(weight.querySelector(".share"), percent(node.part));
    const fill = weight.querySelector(".bar-fill");
    fill.className = `bar-fill ${side.kind}`;
    fill.style.setProperty("--share", String(node.part));
    sign.className = `sign ${side.kind}`;
    setText(sign.children[0], side.mark);
    setText(sign.children[1], side.word);
    setText(sign.children[2], signed(leaning(node)));
  }

  // -- moving about ------------------------------------------------------------------------------------------------

  #rows() {
    return [...this.#table.querySelectorAll("tr[data-node]")];
  }

  #rove(row) {
    for (const other of this.#rows()) other.tabIndex = other === row ? 0 : -1;
    this.#current = row.dataset.key;
  }

  #click(event) {
    const row = event.target.closest("tr[data-node]");
    if (!row) return;
    if (event.target.closest(".twist") && row.hasAttribute("aria-expanded")) this.#toggle(row);
    else this.onPick(row.dataset.key);
    row.focus({ preventScroll: true });
  }

  #toggle(row, open = row.getAttribute("aria-expanded") !== "true") {
    if (open) this.#open.add(row.dataset.key);
    else this.#open.delete(row.dataset.key);
    this.show(this.last);
  }

  #key(event) {
    const row = event.target.closest("tr[data-node]");
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = this.#rows();
    const at = rows.indexOf(row);
    const expanded = row.getAttribute("aria-expanded");
    const moves = {
      ArrowDown: () => rows[at + 1],
      ArrowUp: () => rows[at - 1],
      Home: () => rows[0],
      End: () => rows.at(-1),
      ArrowRight: () => (expanded === "false" ? this.#toggle(row, true) : expanded === "true" ? rows[at + 1] : null),
      ArrowLeft: () => (expanded === "true" ? this.#toggle(row, false) : parentOf(rows, at)),
      Enter: () => void this.onPick(row.dataset.key),
      " ": () => void this.onPick(row.dataset.key),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]()?.focus();
  }
}

const parentOf = (rows, at) =>
  rows[at].getAttribute("aria-level") === "2" ? rows.slice(0, at).findLast((row) => row.getAttribute("aria-level") === "1") : null;

const heading = ({ title }) => el("tr", { class: "group" }, el("th", { colspan: 5, scope: "rowgroup" }, title, el("span", { class: "model" })));

/** Which model made a group's nodes, beside its title. */
function madeBy(row, { model }) {
  const place = row.querySelector(".model");
  if (place) setText(place, model ? ` · by ${model}` : "");
}

function line() {
  return el(
    "tr",
    { role: "row", tabindex: -1, data: { node: "" } },
    el(
      "th",
      { role: "rowheader", scope: "row" },
      el("span", { class: "twist", "aria-hidden": "true" }),
      el("span", { class: "name" }),
    ),
    el("td", { role: "gridcell", class: "weight" }, el("span", { class: "figure" }), bar(0), el("span", { class: "share" })),
    el("td", { role: "gridcell" }, el("span", {}), " ", el("span", { class: "word" }), " ", el("span", {})),
    el("td", { role: "gridcell", class: "number wide" }),
    el("td", { role: "gridcell", class: "wide" }, time(0)),
  );
}
