// The items they dealt with last, each with the latest thing they did with it: also what no interest keeps any more.

import { getJson, query, userPath } from "./api.js";
import { byId, el, keyed, setText } from "./dom.js";
import { clear, fail } from "./failing.js";
import { setTime, signed, time, verdict } from "./format.js";

const SHOWN = 6;
const AT_LEAST_MS = 1200;

export class Recents {
  #list = byId("recents");
  #slot = byId("recents-problem");
  #timer = null;

  of(user) {
    this.user = user;
    this.#list.replaceChildren();
    byId("recents-none").hidden = true;
    clear(this.#slot);
    this.refresh(0);
  }

  /** Ask again after `wait` ms; several calls become one. */
  refresh(wait = AT_LEAST_MS) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(this.user), wait);
  }

  async #ask(user) {
    try {
      const answer = await getJson(userPath(user, "recents") + query({ limit: SHOWN }));
      if (user === this.user) this.#show(answer.items);
    } catch (error) {
      if (user === this.user) fail(this.#slot, error, () => this.refresh(0));
    }
  }

  #show(items) {
    clear(this.#slot);
    byId("recents-none").hidden = items.length > 0;
    keyed(this.#list, items, (item) => item.item_id, line, fill);
  }
}

const line = () => el("li", {}, el("span", { class: "sign" }), el("span", { class: "title" }), time(0));

function fill(row, item) {
  const side = item.weight ? verdict(item.weight) : null;
  const sign = row.querySelector(".sign");
  sign.className = `sign ${side?.kind ?? "faint"}`;
  setText(sign, side ? `${side.mark} ${signed(item.weight, 1)}` : "undone");
  sign.title = side ? `speaks ${side.word}, weight ${signed(item.weight)}` : "was taken back";
  setText(row.querySelector(".title"), item.title ?? item.item_id);
  row.title = `item ${item.item_id}`;
  setTime(row.querySelector("time"), item.ts_ms);
}
