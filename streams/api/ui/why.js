// "Why?": every interest behind a score with the events behind it, every recent item, what came besides, and the sum.

import { getJson, userPath } from "./api.js";
import { el } from "./dom.js";
import { clear, fail } from "./failing.js";
import { PARTS, about, called, madeWith, percent, signed } from "./format.js";

const SHOWN = 6;

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

function explained(explanation) {
  const strongest = [...explanation.pulls].sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  const shown = strongest.slice(0, SHOWN).filter((pull) => pull.contribution !== 0);
  const others = strongest.slice(shown.length);
  const row = (name, value, about = "") =>
    el("tr", {}, el("th", { scope: "row" }, name, about && el("span", { class: "faint events-behind" }, about)), el("td", { class: "number" }, signed(value, 3)));
  const sum = (list) => list.reduce((total, one) => total + one.contribution, 0);
  const recents = explanation.recents ?? [];
  const weaker = recents.slice(SHOWN);
  return [
    el(
      "table",
      { class: "why-table" },
      el("caption", {}, `What adds up to the score, by ${madeWith(explanation)}`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Interest and events behind it, or recent item"), el("th", { scope: "col", class: "number" }, "Adds"))),
      el(
        "tbody",
        {},
        ...shown.map((pull) => row(called(pull), pull.contribution, behind(pull.evidence, pull.level === "learned"))),
        others.length ? row(`${others.length} weaker interests`, sum(others)) : null,
        ...recents.slice(0, SHOWN).map((recent) => row(`“${recent.title ?? recent.item_id}”`, recent.contribution, "recent item")),
        weaker.length ? row(`${weaker.length} weaker recent items`, sum(weaker)) : null,
        ...explanation.others.map((one) => row(upper(PARTS[one.part] ?? one.part), one.contribution)),
      ),
      el("tfoot", {}, row("Score", explanation.score)),
    ),
  ];
}

const upper = (word) => word[0].toUpperCase() + word.slice(1);

/** Items that events were about, each with what its events weighed, or which share of a model's attention they had. */
function behind(evidence, learned) {
  const items = new Map();
  for (const entry of evidence) {
    const name = entry.title ?? entry.item_id ?? about(entry);
    items.set(name, [...(items.get(name) ?? []), [entry.type, learned ? percent(entry.share) : signed(entry.weight, 1)].filter(Boolean).join(" ")]);
  }
  return [...items].slice(0, 3).map(([name, weights]) => `${name} (${weights.join(", ")})`).join("; ");
}
