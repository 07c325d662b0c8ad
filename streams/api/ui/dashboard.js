// The page /dashboard: which dashboard and which range is on show, and when it is asked again.

import { getJson, query } from "./api.js";
import { onTheme, themeSwitch } from "./charts.js";
import { announce, byId, el, keyed, setText } from "./dom.js";
import { clear, fail } from "./failing.js";
import { moment, span } from "./format.js";
import { Panel, runbookOf } from "./panel.js";

//: How often each range is asked for anew: its newest moment is seldom younger.
const AGAIN_MS = { "5m": 5_000, "1h": 15_000, "6h": 30_000, "24h": 60_000, "7d": 300_000 };
const AFTER_FAILURE_MS = 10_000;

let catalogue = null;
let board = null;
let panels = [];
let timer = null;
let request = null;
let paused = false;
let states = "";

// -- what is on show -----------------------------------------------------------------------------------------------

const chosen = () => new URLSearchParams(location.hash.slice(1));
const range = () => (chosen().get("range") in AGAIN_MS ? chosen().get("range") : "1h");
const address = (key, name) => `#${new URLSearchParams({ dashboard: key, range: name })}`;

function route() {
  if (!catalogue) return;
  const key = chosen().get("dashboard");
  const found = catalogue.dashboards.find((one) => one.key === key) ?? catalogue.dashboards[0];
  for (const input of document.querySelectorAll("input[name=range]")) input.checked = input.value === range();
  tabs(found);
  if (found !== board) open(found);
  read();
}

function tabs(current) {
  keyed(
    byId("boards"),
    catalogue.dashboards,
    (one) => one.key,
    (one) => el("li", {}, el("a", {}, one.title)),
    (node, one) => {
      const link = node.firstElementChild;
      link.setAttribute("href", address(one.key, range()));
      if (one === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    },
  );
}

function open(found) {
  board = found;
  states = "";
  for (const panel of panels) panel.close();
  panels = found.panels.map((info) => new Panel(info, runbookOf(info.runbook, catalogue.runbook_url)));
  byId("panels").replaceChildren(...panels.map((panel) => panel.node));
  setText(byId("board-heading"), found.title);
  setText(byId("board-about"), found.about);
  document.title = `${found.title} – Dashboards`;
}

// -- asking --------------------------------------------------------------------------------------------------------

async function begin() {
  try {
    catalogue = await getJson("v1/dashboards");
    clear(byId("board-problem"));
    setText(byId("source"), whence());
    route();
  } catch (error) {
    away(error, begin);
  }
}

function whence() {
  const own = `The numbers come from the services’ own metrics, which this API reads itself. It keeps the last ${span(catalogue.kept_s * 1000)}; a Prometheus (api.prometheus_url) keeps more.`;
  const numbers = catalogue.source === "prometheus" ? "The numbers come from Prometheus." : own;
  return catalogue.runbook_url ? numbers : `${numbers} The runbook is docs/operations.md; api.runbook_url makes its entries links.`;
}

async function read() {
  clearTimeout(timer);
  request?.abort();
  const mine = (request = new AbortController());
  const [asked, name] = [board, range()];
  byId("panels").setAttribute("aria-busy", "true");
  try {
    const answer = await getJson(`v1/dashboards/${encodeURIComponent(asked.key)}${query({ range: name })}`, { signal: mine.signal });
    if (mine !== request) return;
    clear(byId("board-problem"));
    show(answer);
    again(AGAIN_MS[name]);
  } catch (error) {
    if (error.name === "AbortError" || mine !== request) return;
    away(error, read);
    again(Math.max(AFTER_FAILURE_MS, 1000 * (error.retryAfter ?? 0)));
  } finally {
    if (mine === request) byId("panels").removeAttribute("aria-busy");
  }
}

function again(wait) {
  clearTimeout(timer);
  if (!paused && document.visibilityState === "visible") timer = setTimeout(read, wait);
}

function away(error, retry) {
  state("waiting", "Not live");
  fail(byId("board-problem"), error, retry);
}

// -- showing -------------------------------------------------------------------------------------------------------

function show(answer) {
  const times = [];
  for (let at = answer.from_ms; at <= answer.until_ms; at += answer.step_ms) times.push(at);
  const series = new Map(answer.panels.map((one) => [one.key, one]));
  for (const [index, panel] of panels.entries()) panel.show(series.get(board.panels[index].key), times);
  jobs(answer.jobs);
  state(paused ? "waiting" : "live", `${paused ? "Paused" : "Live"}, as of ${moment(answer.until_ms)}`);
  spoken(answer);
}

function jobs(all) {
  keyed(
    byId("jobs"),
    all,
    (one) => one.job,
    () => el("li", {}),
    (node, one) => {
      const up = one.up === one.known;
      node.dataset.state = up ? "well" : "bad";
      const many = one.known > 1 ? ` ${one.up} of ${one.known}` : "";
      setText(node, `${up ? "✓" : "✕"} ${one.job}${many}${up ? "" : `: ${one.reason ?? "does not answer"}`}`);
    },
  );
}

/** Tell screen readers what has changed for better or worse, not every new number. */
function spoken(answer) {
  const titles = new Map(board.panels.map((one) => [one.key, one.title]));
  const wrong = answer.panels.filter((one) => one.state === "bad" || one.state === "warn");
  const now = wrong.map((one) => `${titles.get(one.key)}: ${one.state === "bad" ? "bad" : "warning"}`).join("; ");
  if (now !== states) announce(now || "Nothing is over its threshold.");
  states = now;
}

function state(kind, words) {
  byId("live").dataset.state = kind;
  setText(byId("live-words"), words);
}

// -- start ---------------------------------------------------------------------------------------------------------

themeSwitch();
onTheme(() => panels.forEach((panel) => panel.redraw()));
window.addEventListener("hashchange", route);
for (const input of document.querySelectorAll("input[name=range]")) {
  input.addEventListener("change", () => {
    location.hash = address(board?.key ?? "", input.value);
  });
}
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  setText(byId("pause"), paused ? "Go on" : "Pause");
  if (paused) {
    clearTimeout(timer);
    state("waiting", byId("live-words").textContent.replace("Live", "Paused"));
  } else read();
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") clearTimeout(timer);
  else if (board && !paused) read();
});
begin();
