// Recommendations with the reason for each, and the knob for diversity.

import { getJson, query, userPath } from "./api.js";
import { byId, el, keyed, setText } from "./dom.js";
import { clear, fail } from "./failing.js";
import { PARTS, called, madeWith, setTime, signed, time } from "./format.js";
import { whyBox } from "./why.js";

const AT_LEAST_MS = 1200;
const SLIGHT = 0.005;

export class Recommendations {
  #list = byId("recommended");
  #slot = byId("recommend-problem");
  #knob = byId("diversity");
  #request = null;
  #timer = null;
  #lastMs = 0;

  /** `onSend(type, item)` is called when the reader acts on an item. */
  constructor(onSend) {
    this.onSend = onSend;
    this.#knob.addEventListener("input", () => {
      this.#label();
      this.refresh(150);
    });
    byId("exclude-seen").addEventListener("change", () => this.refresh(0));
    this.#label();
  }

  #label() {
    const value = Number(this.#knob.value);
    setText(byId("diversity-value"), value.toFixed(2));
    this.#knob.setAttribute("aria-valuetext", `${value.toFixed(2)}: ${value === 0 ? "plain order" : value < 0.5 ? "a little mixed" : value < 1 ? "well mixed" : "as unlike as can be"}`);
  }

  of(user) {
    this.user = user;
    this.#list.replaceChildren();
    byId("recommend-none").hidden = true;
    byId("recommend-weights").hidden = true;
    clear(this.#slot);
    this.refresh(0);
  }

  /** Ask again after `wait` ms; several calls become one, and the server is asked about once a second at most. */
  refresh(wait = AT_LEAST_MS) {
    clearTimeout(this.#timer);
    const soonest = Math.max(wait, this.#lastMs + AT_LEAST_MS - Date.now());
    this.#timer = setTimeout(() => this.#ask(), wait === 0 ? 0 : soonest);
  }

  async #ask() {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    const user = this.user;
    this.#lastMs = Date.now();
    try {
      const wanted = { k: 6, diversity: this.#knob.value, exclude_seen: byId("exclude-seen").checked, explain: true };
      const answer = await getJson(userPath(user, "recommendations") + query(wanted), { signal: request.signal });
      if (user !== this.user) return;
      clear(this.#slot);
      this.#show(answer);
    } catch (error) {
      if (error.name !== "AbortError" && user === this.user) fail(this.#slot, error, () => this.refresh(0));
    }
  }

  #show(answer) {
    this.items = answer.items;
    byId("recommend-none").hidden = answer.items.length > 0;
    const most = Math.max(...answer.items.map((item) => weighty(item).reduce((sum, [, value]) => sum + Math.abs(value), 0)), 1e-9);
    this.#legend(answer);
    const ids = new Map(answer.items.map((item) => [item.item_id ?? "", item]));
    keyed(this.#list, [...ids.values()], (item) => item.item_id ?? "", (item) => this.#line(item), (row, item) => fillLine(row, item, most));
  }

  /** Which weights made the scores, and which colour is which part. */
  #legend(answer) {
    byId("recommend-weights").hidden = answer.items.length === 0;
    setText(byId("weights-version"), madeWith(answer));
    const shown = Object.keys(PARTS).filter((part) => answer.items.some((item) => weighty(item).some(([name]) => name === part)));
    keyed(byId("parts-legend"), shown, (part) => part, (part) => el("li", {}, el("span", { class: `swatch part part-${part}` }), PARTS[part]), () => {});
  }

  #line(item) {
    const title = item.title ?? item.item_id;
    const act = (type, words) =>
      el("button", { type: "button", class: "small", "aria-label": `${words}: ${title}`, on: { click: () => this.onSend(type, item) } }, words);
    return el(
      "li",
      {},
      el("div", { class: "rec-head" }, el("span", { class: "title" }), el("span", { class: "score", title: "score" })),
      el("p", { class: "faint rec-meta" }, el("span", { class: "path" }), el("span", { class: "age" }, " · ", time(0))),
      el("div", { class: "parts", "aria-hidden": "true" }),
      el("p", { class: "because" }),
      el("div", { class: "actions" }, act("click", "Click"), act("like", "Like"), act("hide", "Hide"), whyBox(() => this.user, item.item_id, title)),
    );
  }
}

function fillLine(row, item, most) {
  setText(row.querySelector(".title"), item.title ?? item.item_id ?? "");
  row.querySelector(".title").title = `item ${item.item_id}`;
  setText(row.querySelector(".score"), signed(item.score));
  setText(row.querySelector(".rec-meta .path"), item.path || "no topic");
  row.querySelector(".age").hidden = !item.ts_ms;
  if (item.ts_ms) setTime(row.querySelector(".age time"), item.ts_ms);
  setText(row.querySelector(".because"), reason(item));
  keyed(
    row.querySelector(".parts"),
    weighty(item),
    ([part]) => part,
    () => el("span", {}),
    (bar, [part, value]) => {
      bar.className = `part part-${part} ${value < 0 ? "against" : "for"}`;
      bar.style.setProperty("--share", String(Math.abs(value) / most));
      bar.title = `${PARTS[part]} ${signed(value)}`;
    },
  );
}

/** The parts of an item's score that moved it, in their order. */
const weighty = (item) => Object.keys(PARTS).map((part) => [part, item.parts[part] ?? 0]).filter(([, value]) => Math.abs(value) > SLIGHT);

/** The reason for an item in a sentence: the interests and recent items that pulled and pushed, then what came besides. */
export function reason(item) {
  const nodes = item.because.map((pull) => [called(pull), pull.contribution]);
  const recents = (item.recents ?? []).map((recent) => [`“${recent.title ?? recent.item_id}”`, recent.contribution]);
  const moved = [...nodes, ...recents].sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
  const named = ([name, value]) => `${name} ${signed(value)}`;
  const pulled = moved.filter(([, value]) => value > SLIGHT).slice(0, 3).map(named);
  const pushed = moved.filter(([, value]) => value < -SLIGHT).slice(0, 2).map(named);
  const sentences = [];
  if (pulled.length) sentences.push(`Because of ${listed(pulled)}.`);
  if (pushed.length) sentences.push(`Held back by ${listed(pushed)}.`);
  const besides = (item.others ?? [])
    .filter((one) => Math.abs(one.contribution) > SLIGHT)
    .map((one) => `${PARTS[one.part]} ${signed(one.contribution)}`);
  if (besides.length) sentences.push(`${sentences.length ? "Besides" : "Because of"} ${listed(besides)}.`);
  return sentences.join(" ") || "No interest speaks for or against it.";
}

const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
