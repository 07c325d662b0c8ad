// Recommendations with the reason for each, and the knob for diversity.

import { getJson, query, userPath } from "./api.js";
import { byId, el, keyed, setText } from "./dom.js";
import { clear, fail } from "./failing.js";
import { called, setTime, signed, time } from "./format.js";
import { whyBox } from "./why.js";

const AT_LEAST_MS = 1200;

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
    const most = Math.max(...answer.items.map((item) => item.because.reduce((sum, pull) => sum + Math.abs(pull.contribution), 0)), 1e-9);
    const ids = new Map(answer.items.map((item) => [item.item_id ?? "", item]));
    keyed(this.#list, [...ids.values()], (item) => item.item_id ?? "", (item) => this.#line(item), (row, item) => fillLine(row, item, most));
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
      el("div", { class: "pulls", "aria-hidden": "true" }),
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
    row.querySelector(".pulls"),
    item.because.filter((pull) => Math.abs(pull.contribution) > 0.005).slice(0, 6),
    (pull) => pull.node_id,
    () => el("span", {}),
    (part, pull) => {
      part.className = `pull-bar ${pull.contribution < 0 ? "against" : "for"}`;
      part.style.setProperty("--share", String(Math.abs(pull.contribution) / most));
      part.title = `${called(pull)} ${signed(pull.contribution)}`;
    },
  );
}

/** The reason for an item in a sentence: the interests that pulled and pushed, then what came besides. */
export function reason(item) {
  const named = (pull) => `${called(pull)} ${signed(pull.contribution)}`;
  const pulled = item.because.filter((pull) => pull.contribution > 0.005).slice(0, 3).map(named);
  const pushed = item.because.filter((pull) => pull.contribution < -0.005).slice(0, 2).map(named);
  const sentences = [];
  if (pulled.length) sentences.push(`Because of ${listed(pulled)}.`);
  if (pushed.length) sentences.push(`Held back by ${listed(pushed)}.`);
  const besides = [];
  if (Math.abs(item.parts.freshness) >= 0.005) besides.push(`freshness ${signed(item.parts.freshness)}`);
  if (Math.abs(item.parts.popularity) >= 0.005) besides.push(`popularity ${signed(item.parts.popularity)}`);
  if (besides.length) sentences.push(`${sentences.length ? "Besides" : "Because of"} ${listed(besides)}.`);
  return sentences.join(" ") || "No interest speaks for or against it.";
}

const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
