// The last events: those that came while the page was open, and those kept as evidence. Never their text.

import { byId, el, keyed, setText } from "./dom.js";
import { about, setTime, signed, time, verdict } from "./format.js";

const SHOWN = 7;

export class Events {
  #list = byId("events");

  show(tree) {
    const events = tree.lastEvents(SHOWN);
    byId("events-none").hidden = events.length > 0;
    keyed(this.#list, events, (event) => event.id, line, fill);
  }
}

function line(event) {
  return el(
    "li",
    { class: event.fresh ? "fresh" : null },
    el("span", { class: "sign" }),
    el("span", { class: "what" }, el("span", { class: "type" }), " ", el("span", { class: "title" })),
    time(0),
  );
}

function fill(row, event) {
  const side = verdict(event.weight);
  const sign = row.querySelector(".sign");
  sign.className = `sign ${side.kind}`;
  setText(sign, `${side.mark} ${signed(event.weight, 1)}`);
  sign.title = `speaks ${side.word === "mixed" ? "neither for nor against" : side.word}, weight ${signed(event.weight)}`;
  setText(row.querySelector(".type"), event.type ?? "");
  setText(row.querySelector(".title"), about({ ...event, item_id: event.itemId }));
  row.title = `event ${event.id}${event.itemId ? `, item ${event.itemId}` : ""}`;
  setTime(row.querySelector("time"), event.ts);
}
