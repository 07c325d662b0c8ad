// Choosing a person: a combobox over the pages of GET /v1/users.

import { getJson, query } from "./api.js";
import { byId, el, setText } from "./dom.js";
import { clear, fail } from "./failing.js";
import { moment } from "./format.js";

const PAGE = 100;
const SHOWN = 200;

export class Users {
  #input = byId("user");
  #list = byId("user-list");
  #slot = byId("user-problem");
  #cards = [];
  #cursor = null;
  #active = -1;
  #wanted = false; // open, or to be opened once there is something to show
  #asking = null;

  constructor(onUser) {
    this.onUser = onUser;
    this.#input.addEventListener("focus", () => this.#input.select());
    this.#input.addEventListener("click", () => this.#open());
    this.#input.addEventListener("input", () => this.#open(this.#input.value));
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("blur", () => {
      this.#close();
      this.#input.value = this.user ?? "";
    });
    // The input keeps the focus; a press on an option must not take it.
    this.#list.addEventListener("mousedown", (event) => event.preventDefault());
    this.#list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.#choose(option);
    });
  }

  /** The people of the first page, asked anew; null where the server gave no answer. */
  async first() {
    try {
      const page = await getJson(`v1/users${query({ limit: PAGE })}`);
      this.#cards = page.users;
      this.#cursor = page.next_cursor ?? null;
      clear(this.#slot);
      return this.#cards;
    } catch (error) {
      fail(this.#slot, error, () => this.onRetry?.());
      return null;
    }
  }

  show(user) {
    this.user = user;
    this.#input.value = user ?? "";
    this.#input.disabled = false;
  }

  async #more() {
    this.#asking ??= getJson(`v1/users${query({ limit: PAGE, cursor: this.#cursor })}`);
    try {
      const page = await this.#asking;
      const known = new Set(this.#cards.map((card) => card.user_id));
      this.#cards.push(...page.users.filter((card) => !known.has(card.user_id)));
      this.#cursor = page.next_cursor ?? null;
      clear(this.#slot);
    } catch (error) {
      fail(this.#slot, error, () => this.#more());
    } finally {
      this.#asking = null;
    }
  }

  async #open(typed = "") {
    const anew = !this.#wanted;
    this.#wanted = true;
    this.#show(typed);
    if (anew && (await this.first()) && this.#wanted) this.#show(this.#typed());
  }

  #typed() {
    return this.#input.value === this.user ? "" : this.#input.value;
  }

  #show(typed) {
    const wanted = typed.trim().toLowerCase();
    const found = this.#cards.filter((card) => card.user_id.toLowerCase().includes(wanted)).slice(0, SHOWN);
    const options = found.map((card) =>
      option({ user: card.user_id }, card.user_id, `${card.events} ${card.events === 1 ? "event" : "events"}, last ${card.last_ms ? moment(card.last_ms) : "never"}`),
    );
    if (wanted && !this.#cards.some((card) => card.user_id === typed.trim())) options.push(option({ user: typed.trim() }, typed.trim(), "open by exact id"));
    if (this.#cursor) options.push(option({ more: "1" }, "More people…", `${this.#cards.length} loaded`));
    options.forEach((node, index) => (node.id = `user-option-${index}`));
    this.#list.replaceChildren(...options);
    this.#list.hidden = options.length === 0;
    this.#input.setAttribute("aria-expanded", String(options.length > 0));
    setText(byId("user-count"), `${found.length} ${found.length === 1 ? "person" : "people"}`);
    this.#activate(wanted && options.length ? 0 : -1);
  }

  #close() {
    this.#wanted = false;
    this.#list.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#activate(-1);
  }

  #activate(index) {
    const options = [...this.#list.children];
    this.#active = options.length ? Math.max(-1, Math.min(options.length - 1, index)) : -1;
    options.forEach((node, place) => node.setAttribute("aria-selected", String(place === this.#active)));
    const active = options[this.#active];
    if (active) {
      this.#input.setAttribute("aria-activedescendant", active.id);
      active.scrollIntoView({ block: "nearest" });
    } else this.#input.removeAttribute("aria-activedescendant");
  }

  async #choose(node) {
    if (node.dataset.more) {
      const at = this.#active;
      await this.#more();
      this.#show(this.#typed());
      this.#activate(at);
      return;
    }
    this.#close();
    this.show(node.dataset.user);
    this.onUser(node.dataset.user);
  }

  #key(event) {
    const open = !this.#list.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (open) this.#activate(this.#active < 0 && step < 0 ? this.#list.children.length - 1 : this.#active + step);
      else this.#open().then(() => this.#activate(this.#active < 0 ? 0 : this.#active));
    } else if (event.key === "Enter") {
      event.preventDefault();
      const active = this.#list.children[this.#active];
      if (open && active) this.#choose(active);
      else if (this.#typed().trim()) this.#choose(option({ user: this.#typed().trim() }, "", ""));
    } else if (event.key === "Escape" && open) {
      event.preventDefault();
      this.#close();
    }
  }
}

const option = (data, name, about) =>
  el("li", { role: "option", "aria-selected": "false", data }, el("span", { class: "name" }, name), el("span", { class: "faint" }, about));
