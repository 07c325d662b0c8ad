// One panel of a dashboard: its state, its lines over time, its values now, and where to read on.

import { DASHES, colour, draw, plain } from "./charts.js";
import { el, keyed, setText } from "./dom.js";
import { DAY, moment } from "./format.js";
import { ticks, written } from "./units.js";

const COLOURS = 6;
const SVG = "http://www.w3.org/2000/svg";
const PIECES = { solid: "none", dash: "7 3", dot: "2 2", dashdot: "8 2 2 2", longdash: "11 4", longdashdot: "11 2 2 2" };
const STATES = {
  well: { mark: "✓", word: "well" },
  warn: { mark: "▲", word: "warning" },
  bad: { mark: "✕", word: "bad" },
  none: { mark: "–", word: "no data" },
  unjudged: { mark: "", word: "" },
};
//: A threshold is drawn where the lines come near it: farther away it would press them flat.
const NEAR = 4;
const HEIGHT_OF_NOTHING = 1;

export class Panel {
  #near = false;
  #info = null;
  #series = null;
  #shown = null;

  constructor(info, runbook) {
    this.#info = info;
    const id = `panel-${info.key}`;
    this.heading = el("h3", { id: `${id}-heading` }, info.title);
    this.state = el("span", { class: "state" });
    this.chart = el("div", { class: "chart", role: "img", "aria-labelledby": `${id}-heading`, "aria-describedby": `${id}-words` });
    this.reason = el("p", { class: "reason", hidden: true });
    this.words = el("p", { id: `${id}-words`, class: "unseen" });
    this.rows = el("tbody", {});
    this.more = el("p", { class: "faint", hidden: true });
    this.table = el(
      "table",
      { class: "lines" },
      el("caption", { class: "unseen" }, `${info.title}: values`),
      el("thead", {}, el("tr", {}, ...["", "now", "min", "max"].map((name, index) => el("th", { scope: "col", class: index ? "number" : "" }, name || el("span", { class: "unseen" }, "line"))))),
      this.rows,
    );
    this.node = el(
      "section",
      { id, class: "card panel", "aria-labelledby": `${id}-heading` },
      el("div", { class: "panel-head" }, this.heading, this.state),
      el("p", { class: "faint" }, ...marked(info.about)),
      this.chart,
      this.reason,
      this.words,
      this.table,
      this.more,
      el("p", { class: "faint thresholds" }, thresholds(info)),
      el("div", { class: "panel-foot" }, runbook, el("details", {}, el("summary", {}, "Query"), el("ul", { class: "queries" }, ...info.queries.map((query) => el("li", {}, el("code", {}, query)))))),
    );
    // Drawing takes a while on a phone: only what is on the screen, or nearly, is drawn.
    this.watch = new IntersectionObserver(
      (entries) => {
        const near = entries.at(-1).isIntersecting;
        if (near && !this.#near) requestAnimationFrame(() => this.redraw());
        this.#near = near;
      },
      { rootMargin: "300px" },
    );
    this.watch.observe(this.chart);
    this.sizes = new ResizeObserver(() => this.#near && requestAnimationFrame(() => this.redraw()));
    this.sizes.observe(this.chart);
  }

  /** Take new numbers at the moments of `times`, in ms. */
  show(series, times) {
    this.#series = series;
    this.times = times;
    const { mark, word } = STATES[series.state];
    this.node.dataset.state = series.state;
    setText(this.state, word && `${mark} ${word}`);
    this.#empty(series);
    this.#list(series);
    if (this.#near) this.redraw();
  }

  /** Draw again, as after a change of the theme. */
  redraw() {
    if (!this.#series || this.chart.hidden) return;
    const size = { width: this.chart.clientWidth, height: this.chart.clientHeight };
    const key = JSON.stringify([this.#series, this.times[0], this.times.length, colour("--ink"), size]);
    if (key === this.#shown) return;
    this.#shown = key;
    draw(this.chart, traces(this.#series.lines, this.times, this.#info.unit), { ...size, ...layout(this.#info, this.#series.lines, this.times, size.width) }).catch(console.error);
  }

  #empty(series) {
    const drawn = series.lines.some((line) => line.values.some((value) => value !== null));
    this.chart.hidden = !drawn;
    this.table.hidden = !series.lines.length;
    this.reason.hidden = !series.reason;
    setText(this.reason, series.reason ? `No data now. ${series.reason}` : "");
    this.more.hidden = !series.left_out;
    setText(this.more, `${series.left_out} more, ${series.left_out_at_zero ? "all at 0" : "which went less far"}.`);
    setText(this.words, drawn ? `Line chart of ${series.lines.length} ${series.lines.length === 1 ? "line" : "lines"}; the table below holds figures.` : "");
  }

  #list(series) {
    const unit = this.#info.unit;
    const rows = series.lines.map((line, index) => {
      const values = line.values.filter((value) => value !== null);
      return { name: line.name, index, cells: [line.now, least(values), most(values)].map((value) => written(value, unit)) };
    });
    keyed(this.rows, rows, (row) => `${row.index} ${row.name}`, row, (node, { cells }) => {
      cells.forEach((cell, index) => setText(node.children[index + 1], cell));
    });
  }

  /** Let go of what watches the page. */
  close() {
    this.watch.disconnect();
    this.sizes.disconnect();
  }
}

function row({ name, index }) {
  return el("tr", {}, el("th", { scope: "row" }, mark(index), name), ...[0, 1, 2].map(() => el("td", { class: "number" })));
}

/** A piece of the line as the chart draws it. */
function mark(index) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ class: `line-mark tint-${index % COLOURS}`, viewBox: "0 0 26 4", "aria-hidden": "true" })) svg.setAttribute(name, value);
  const line = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1: 0, x2: 26, y1: 2, y2: 2, "stroke-dasharray": PIECES[DASHES[index % DASHES.length]] })) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}

/** Text in which `…` is code. */
const marked = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));

const least = (values) => (values.length ? values.reduce((one, other) => Math.min(one, other)) : null);
const most = (values) => (values.length ? values.reduce((one, other) => Math.max(one, other)) : null);

function thresholds({ unit, warn, bad, below }) {
  const word = below ? "under" : "from";
  const parts = [];
  if (warn !== null) parts.push(`Warning ${word} ${written(warn, unit)}`);
  if (bad !== null) parts.push(`${parts.length ? "bad" : "Bad"} ${word} ${written(bad, unit)}`);
  return parts.length ? `${parts.join(", ")}.` : "";
}

function traces(lines, times, unit) {
  const x = times.map((at) => new Date(at));
  return lines.map((line, index) => ({
    type: "scatter",
    mode: alone(line.values) ? "lines+markers" : "lines",
    x,
    y: line.values,
    name: plain(line.name),
    text: line.values.map((value, at) => (value === null ? "" : `${plain(line.name)}: ${written(value, unit)} at ${moment(times[at])}`)),
    hoverinfo: "text",
    showlegend: false,
    connectgaps: false,
    line: { color: colour(`--line-${(index % COLOURS) + 1}`), width: 2, dash: DASHES[index % DASHES.length] },
    marker: { color: colour(`--line-${(index % COLOURS) + 1}`), size: alone(line.values) ? 5 : 0 },
  }));
}

/** Whether a value stands between two that are missing: a line alone would not show it. */
const alone = (values) => values.some((value, at) => value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null);

function layout(info, lines, times, width) {
  const rule = colour("--line");
  const values = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const limits = [["warn", info.warn, "--warn"], ["bad", info.bad, "--alarm"]].filter(([, at]) => at !== null);
  const top = Math.max(most(values) ?? 0, 0);
  const drawn = limits.filter(([, at]) => at <= NEAR * top || (info.below && top <= at * NEAR));
  const end = Math.max(top, ...drawn.map(([, at]) => at)) * 1.08 || HEIGHT_OF_NOTHING;
  const start = Math.min(least(values) ?? 0, 0) * 1.08;
  const marks = ticks(start, end, info.unit);
  const axis = { gridcolor: rule, linecolor: rule, zeroline: false, fixedrange: true, tickfont: { color: colour("--muted"), size: 12 } };
  return {
    margin: { l: 62, r: 8, t: 8, b: 26 },
    hovermode: "closest",
    hoverdistance: 60,
    dragmode: false,
    xaxis: { ...axis, type: "date", range: [new Date(times[0]), new Date(times.at(-1))], nticks: width < 420 ? 3 : 5, tickangle: 0, tickformat: times.at(-1) - times[0] > 2 * DAY ? "%a %-d" : "%H:%M" },
    yaxis: { ...axis, range: [start, end], tickmode: "array", tickvals: marks.values, ticktext: marks.words },
    shapes: drawn.map(([, at, tint]) => ({
      type: "line", x0: 0, x1: 1, xref: "paper", y0: at, y1: at, line: { color: colour(tint), width: 1.5, dash: "dash" }, layer: "below",
    })),
    annotations: drawn.map(([name, at, tint]) => ({
      ...(name === "warn" ? { x: 0, xanchor: "left", text: "warning" } : { x: 1, xanchor: "right", text: "bad" }),
      xref: "paper", y: at, yanchor: "bottom", showarrow: false, font: { color: colour(tint), size: 11 },
    })),
  };
}

/** Where to read what to do: a link where the runbook is served, else the entry's name. */
export function runbookOf(anchor, url) {
  if (!anchor) return null;
  if (url) return el("a", { href: `${url.split("#")[0]}#${anchor}`, rel: "noreferrer" }, "What to do");
  return el("span", { class: "faint" }, "Runbook: ", el("code", {}, anchor));
}
