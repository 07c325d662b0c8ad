// Small helpers to build the page. Text only ever becomes text: ids and titles may hold markup.

/** Make an element: attributes, `class`, `on` for listeners, `data` for data-…; children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [kind, listener] of Object.entries(value)) made.addEventListener(kind, listener);
    } else if (name === "data") Object.assign(made.dataset, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Set text only where it differs, so that screen readers and selections are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A bar that fills `share` of its width; the number stands beside it as text. */
export function bar(share, kind = "") {
  const fill = el("span", { class: `bar-fill ${kind}` });
  fill.style.setProperty("--share", String(Math.max(0, Math.min(1, share || 0))));
  return el("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/**
 * Make the children of `parent` those of `items`, in order, by key: nodes that stay are kept, so focus and scroll
 * positions stay too. `make(item)` builds one, `update(node, item)` brings one up to date.
 */
export function keyed(parent, items, key, make, update) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Set(items.map(key));
  for (const child of [...parent.children]) if (!wanted.has(child.dataset.key)) child.remove();
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    const node = old.get(name) ?? make(item);
    node.dataset.key = name;
    update?.(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

let spoken = 0;
let waiting = null;

/** Tell screen readers, politely and at most every four seconds; of several messages only the last is read out. */
export function announce(text) {
  const region = byId("announcer");
  const wait = Math.max(0, spoken + 4000 - Date.now());
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    spoken = Date.now();
    region.textContent = text;
  }, wait);
}
