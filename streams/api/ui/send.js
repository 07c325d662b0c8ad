// A box to try it: send an event and see how long it takes into the tree.

import { postJson } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { clear, fail } from "./failing.js";

const SLOW_MS = 12_000;
const WITH_TEXT = new Set(["search", "comment"]);

export class Send {
  #form = byId("send-form");
  #slot = byId("send-problem");
  #words = byId("send-words");
  #pending = new Map(); // event id -> moment it was sent
  #slow = null;

  /** `userOf()` names the person on show; `onFirst(user)` is called when somebody new has been written of. */
  constructor(userOf, onSent) {
    this.userOf = userOf;
    this.onSent = onSent;
    byId("send-type").addEventListener("change", () => this.#fields());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#fields();
  }

  #fields() {
    const type = byId("send-type").value;
    const item = type !== "search";
    const text = WITH_TEXT.has(type);
    byId("send-item-field").hidden = !item;
    byId("send-item").required = item;
    byId("send-text-field").hidden = !text;
    byId("send-text").required = text;
    setText(byId("send-text-label"), type === "search" ? "Search words" : "Comment");
  }

  /** Items to choose from: those on the page. */
  suggest(items) {
    const titles = new Map(items.filter((item) => item.id).map((item) => [item.id, item.title ?? ""]));
    byId("send-items").replaceChildren(...[...titles].slice(0, 60).map(([id, title]) => el("option", { value: id, label: title })));
  }

  /** Whether a new person is to be named: where nobody is on show. */
  askUser(needed) {
    byId("send-user-field").hidden = !needed;
    byId("send-user").required = needed;
  }

  #submit() {
    const type = byId("send-type").value;
    const user = this.userOf() ?? byId("send-user").value.trim();
    const body = { type };
    if (type !== "search") body.item_id = byId("send-item").value.trim();
    if (WITH_TEXT.has(type)) body.text = byId("send-text").value.trim();
    if (!user || body.item_id === "" || body.text === "") {
      setText(this.#words, "Fill in every field, please.");
      return;
    }
    this.send(user, body);
  }

  async send(user, { type, item_id, text }) {
    const eventId = `page-${randomId()}`;
    const sent = { event_id: eventId, user_id: user, type, ts: Date.now(), item_id, text };
    clear(this.#slot);
    setText(this.#words, "Sending…");
    this.#pending.set(eventId, performance.now());
    if (this.#pending.size > 50) this.#pending.delete(this.#pending.keys().next().value);
    try {
      const accepted = await postJson("v1/events", sent);
      const place = accepted.placed?.[0];
      // The tree may have moved before the acknowledgement reached us.
      if (this.#pending.has(eventId)) setText(this.#words, `Kafka has it${place ? ` (${place.topic}, partition ${place.partition}, offset ${place.offset})` : ""}; waiting for the tree…`);
      clearTimeout(this.#slow);
      this.#slow = setTimeout(() => this.#pending.delete(eventId) && setText(this.#words, "Not in the tree yet. An event on an item that nobody has described waits until somebody does."), SLOW_MS);
      byId("send-text").value = "";
      this.onSent(user);
    } catch (error) {
      this.#pending.delete(eventId);
      setText(this.#words, "");
      fail(this.#slot, error, () => this.send(user, { type, item_id, text }));
    }
  }

  /**
   * Find which of the sent events the tree knows now, as a change or as evidence.
   */
  arrived(tree) {
    for (const [id, since] of this.#pending) {
      const event = tree.events.get(id);
      if (!event) continue;
      this.#pending.delete(id);
      clearTimeout(this.#slow);
      setText(this.#words, `In the tree after ${Math.round(performance.now() - since)} ms, from this button to this page.`);
    }
  }
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
