// Why an interest is there: its figures and the events behind it.

import { byId, el, keyed, setText } from "./dom.js";
import { LEVELS, about, leaning, number, percent, setTime, signed, span, time, verdict } from "./format.js";
import { Tree } from "./tree.js";

const SHOWN = 3;

export class Detail {
  #box = byId("detail");
  #list = byId("detail-events");

  show(tree, id, now = Date.now()) {
    const node = tree.nodes.get(id);
    const found = node && tree.level(node.level, now).find((one) => one.id === id);
    if (!found) {
      byId("detail-name").textContent = id ? "Forgotten meanwhile" : "Pick an interest";
      byId("detail-what").textContent = id
        ? "This interest has faded away or was erased."
        : "Choose a sector above or a row below to see the events behind it.";
      byId("detail-facts").replaceChildren();
      this.#list.replaceChildren();
      return;
    }
    const side = verdict(leaning(found));
    const halfLife = tree.halfLives.get(found.level);
    setText(byId("detail-name"), found.name);
    setText(
      byId("detail-what"),
      [LEVELS[found.level], found.path === "/" ? "" : found.path, found.prior ? "prior, of people who began alike" : ""].filter(Boolean).join(" · "),
    );
    const learned = found.level === "learned";
    facts(learned ? [
      ["Model", found.model ?? "not told"],
      ["Made", found.made_ms ?? 0],
      ["Events seen", String(found.count)],
      ["Last of them", found.last_ms],
      ["Else forgotten", found.expires_at_ms],
    ] : [
      ["Weight now", `${number(found.now)}, ${percent(found.part)}`],
      ["For or against", `${side.mark} ${side.word} ${signed(leaning(found))}`],
      ["Events", String(found.count)],
      ["First", found.first_ms],
      ["Last", found.last_ms],
      ["Halves in", halfLife ? span(halfLife) : "not told"],
      ["Else forgotten", found.expires_at_ms],
    ]);
    keyed(this.#list, found.evidence.slice(0, SHOWN), (entry) => [entry.event_id, entry.item_id, entry.ts_ms].join(), entryLine, (row, entry) => fillEntry(row, entry, learned));
    const covered = Tree.covered(found);
    setText(
      byId("detail-note"),
      learned ? `The model’s attention, event by event. It is no sum of them: the model says what they add up to.` : found.evidence.length ? `Events are shown with their part of the weight. The strongest events are kept by name, here ${percent(covered)} of the weight.` : "No single events are kept with it.",
    );
    this.#box.dataset.id = id;
  }
}

function facts(pairs) {
  const list = byId("detail-facts");
  keyed(
    list,
    pairs,
    ([name]) => name,
    ([name]) => el("div", {}, el("dt", {}, name), el("dd", {})),
    (row, [, value]) => {
      const place = row.lastElementChild;
      if (typeof value === "string") setText(place, value);
      else if (place.firstElementChild) setTime(place.firstElementChild, value);
      else place.append(time(value));
    },
  );
}

function entryLine() {
  return el(
    "li",
    {},
    el("span", { class: "sign" }),
    el("span", {}, el("span", { class: "type" }), " ", el("span", { class: "title" })),
    el("span", { class: "faint" }, el("span", { class: "share" }), " · ", time(0)),
  );
}

function fillEntry(row, entry, learned) {
  const side = verdict(entry.weight);
  const sign = row.querySelector(".sign");
  sign.className = learned ? "sign" : `sign ${side.kind}`;
  setText(sign, learned ? percent(entry.share) : `${side.mark} ${signed(entry.weight, 1)}`);
  setText(row.querySelector(".type"), entry.type ?? "");
  setText(row.querySelector(".title"), about(entry));
  row.querySelector(".title").title = `event ${entry.event_id}${entry.item_id ? `, item ${entry.item_id}` : ""}`;
  setText(row.querySelector(".share"), learned ? "of its attention" : percent(entry.share));
  setTime(row.querySelector("time"), entry.ts_ms);
}
