// What failed, in plain words, with a way to try again; one place a card.

import { el } from "./dom.js";

/** Show a problem in `slot` (an element with role=alert) with a button that runs `again`. */
export function fail(slot, problem, again) {
  const words = problem?.name === "Problem" ? problem.message : "Something in this page failed. Reload it, please.";
  if (problem?.name !== "Problem") console.error(problem);
  const button = el("button", { type: "button", class: "small", on: { click: () => { clear(slot); again(); } } }, "Try again");
  const id = problem?.requestId ? el("span", { class: "faint" }, ` Request ${problem.requestId}`) : null;
  slot.replaceChildren(el("span", {}, words, id), button);
  slot.hidden = false;
}

export function clear(slot) {
  slot.hidden = true;
  slot.replaceChildren();
}
