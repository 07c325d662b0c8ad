// "Why?": every interest behind a score with the events behind the interest, and the sum.

import { getJson, userPath } from "./api.js";
import { el } from "./dom.js";
import { clear, fail } from "./failing.js";
import { called, signed } from "./format.js";

/** A disclosure that asks the server when it is opened, anew each time. */
export function whyBox(user, itemId, title) {
  const slot = el("div", { role: "alert", class: "problem", hidden: true });
  const body = el("div", { class: "why-body" });
  const box = el("details", { class: "why" }, el("summary", { "aria-label": `Why: ${title}` }, "Why?"), slot, body);
  const ask = async () => {
    try {
      body.replaceChildren(el("p", { class: "faint" }, "Asking…"));
      body.replaceChildren(...explained(await getJson(userPath(user(), "explain", itemId))));
      clear(slot);
    } catch (error) {
      body.replaceChildren();
      fail(slot, error, ask);
    }
  };
  box.addEventListener("toggle", () => box.open && ask());
  return box;
}

function explained(told) {
  const rows = told.pulls
    .filter((pull) => Math.abs(pull.contribution) >= 0.0005)
    .map((pull) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, called(pull), el("span", { class: "faint events-behind" }, behind(pull.evidence))),
        el("td", { class: "number" }, signed(pull.contribution, 3)),
      ),
    );
  const part = (name, value) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, signed(value, 3)));
  const rest = told.score - told.parts.freshness - told.parts.popularity - told.pulls.filter((pull) => Math.abs(pull.contribution) >= 0.0005).reduce((sum, pull) => sum + pull.contribution, 0);
  return [
    el(
      "table",
      { class: "why-table" },
      el("caption", {}, "What adds up to the score"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Interest and the events behind it"), el("th", { scope: "col", class: "number" }, "Adds"))),
      el("tbody", {}, ...rows, Math.abs(rest) >= 0.0005 ? part("All smaller ones", rest) : null, part("Freshness", told.parts.freshness), part("Popularity", told.parts.popularity)),
      el("tfoot", {}, part("Score", told.score)),
    ),
  ];
}

function behind(evidence) {
  if (!evidence.length) return "";
  const told = evidence.slice(0, 3).map((entry) => `${entry.title ?? entry.item_id ?? "an event without an item"} (${signed(entry.weight, 1)})`);
  return told.join("; ");
}
