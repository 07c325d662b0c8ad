// Who is interested in these words?

import { postJson } from "./api.js";
import { bar, byId, el, setText } from "./dom.js";
import { clear, fail } from "./failing.js";
import { number, time } from "./format.js";

export class Audience {
  #form = byId("audience-form");
  #slot = byId("audience-problem");
  #members = [];

  constructor(onUser) {
    this.onUser = onUser;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search();
    });
    byId("audience-export").addEventListener("click", () => this.#download());
  }

  async #search() {
    const text = byId("audience-text").value.trim();
    const levels = [...this.#form.querySelectorAll("input[name=level]:checked")].map((input) => input.value);
    const words = byId("audience-words");
    if (!text || !levels.length) {
      setText(words, text ? "Tick at least one level." : "Say in a few words what they should be interested in.");
      return;
    }
    setText(words, "Searching…");
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    try {
      const answer = await postJson("v1/audiences/search", { text, levels, min_similarity: Number(byId("audience-least").value), limit: 50 }, { signal: request.signal });
      clear(this.#slot);
      this.#show(answer.members);
    } catch (error) {
      if (error.name === "AbortError") return;
      setText(words, "");
      fail(this.#slot, error, () => this.#search());
    }
  }

  #request = null;

  #show(members) {
    this.#members = members;
    setText(byId("audience-words"), members.length ? `${members.length} ${members.length === 1 ? "person" : "people"}, the most interested first.` : "Nobody so far. Try other words or a lower similarity.");
    byId("audience-export").hidden = members.length === 0;
    byId("audience-table").hidden = members.length === 0;
    const most = Math.max(...members.map((member) => member.strength), 1e-9);
    byId("audience-rows").replaceChildren(...members.map((member) => this.#row(member, most)));
  }

  #row(member, most) {
    const node = member.nodes[0];
    const open = el("button", { type: "button", class: "link", on: { click: () => this.onUser(member.user_id) } }, member.user_id);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, open),
      el("td", {}, el("span", { class: "figure" }, number(member.strength)), bar(member.strength / most, "for")),
      el("td", {}, node ? `${node.name} (${number(node.similarity)})` : ""),
      el("td", { class: "wide" }, time(member.since_ms)),
    );
  }

  #download() {
    const lines = this.#members.map((member) => `${JSON.stringify(member)}\n`);
    const address = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    el("a", { href: address, download: "audience.jsonl" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}
