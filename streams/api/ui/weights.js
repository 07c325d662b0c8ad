// Weights over time: how heavy each topic was, is, and will be if nothing more happens.

import { DASHES, colour, draw, plain } from "./charts.js";
import { byId, el, setText } from "./dom.js";
import { DAY, number } from "./format.js";

const WINDOWS = { "10m": 600_000, "1h": 3_600_000, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY };
const LINES = 6;
const MARKS = ["circle", "square", "diamond", "triangle-up", "x", "star"];
const AHEAD = 0.25;

export class Weights {
  #box = byId("weights-chart");
  #near = false;
  #window = "1d";
  #level = "topic";

  constructor() {
    for (const [id, set] of [["weights-window", (value) => (this.#window = value)], ["weights-level", (value) => (this.#level = value)]]) {
      const select = byId(id);
      set(select.value);
      select.addEventListener("change", () => {
        set(select.value);
        this.redraw();
      });
    }
    // Drawing takes a while on a phone, and this chart lies below the first screen.
    new IntersectionObserver(
      (entries) => {
        const near = entries.at(-1).isIntersecting;
        if (near && !this.#near && this.last) requestAnimationFrame(() => this.redraw());
        this.#near = near;
      },
      { rootMargin: "400px" },
    ).observe(this.#box);
  }

  redraw() {
    if (this.last) this.show(this.last);
  }

  async show(tree, now = Date.now()) {
    this.last = tree;
    const nodes = tree.level(this.#level, now).slice(0, LINES);
    byId("weights-card").hidden = nodes.length === 0;
    if (!nodes.length) return;
    const width = WINDOWS[this.#window];
    const from = now - width;
    const until = now + AHEAD * width;
    const curves = nodes.map((node) => tree.curve(node, from, until, now));
    this.#describe(nodes, tree, from, until, now);
    setText(
      byId("weights-caption"),
      "Thick: known, since the last event before this page was opened; between events a weight only decays. Thin, before that: an " +
        "estimate, the strongest events exactly and the others, of which only the sum is kept, spread evenly between the first and the last. " +
        "Faint, after now: what is left if nothing more happens.",
    );
    if (this.#near) await draw(this.#box, nodes.flatMap((node, index) => traces(node, curves[index], index)), layout(from, until, now, this.#box.clientWidth));
  }

  /** The same in words and as a table. */
  #describe(nodes, tree, from, until, now) {
    this.#box.setAttribute("aria-label", `Line chart of the weights of ${nodes.length} interests over time; the table below holds figures.`);
    const rows = nodes.map((node) => {
      const curve = tree.curve(node, from, until, now);
      const edge = curve.guess[0] ?? curve.known[0];
      const first = tree.samples.get(node.id)?.[0];
      return el(
        "tr",
        {},
        el("th", { scope: "row" }, node.name),
        el("td", {}, edge ? `${curve.guess.length ? "about " : ""}${number(edge.mass)}` : "not known"),
        el("td", {}, first ? number(first.mass) : "not known"),
        el("td", {}, number(node.now)),
        el("td", {}, tree.halfLives.has(node.level) ? number(tree.mass(node, until)) : "not known"),
      );
    });
    byId("weights-rows").replaceChildren(...rows);
  }
}

function traces(node, curve, index) {
  const tint = colour(`--line-${index + 1}`);
  const common = {
    type: "scatter", mode: "lines", legendgroup: node.id, name: plain(node.name), hoverinfo: "text", showlegend: false,
  };
  const points = (list) => ({
    x: list.map((point) => new Date(point.t)),
    y: list.map((point) => point.mass),
    text: list.map((point) => `${plain(node.name)}: ${number(point.mass)}`),
  });
  const known = curve.known.length ? curve.known : curve.ahead.slice(0, 1);
  const last = known.at(-1);
  return [
    { ...common, ...points(curve.guess), line: { color: tint, width: 1.3, dash: DASHES[index] } },
    { ...common, ...points(known), line: { color: tint, width: 3, dash: DASHES[index] } },
    { ...common, ...points(curve.ahead), opacity: 0.45, line: { color: tint, width: 1.4, dash: "dot" } },
    {
      ...common, x: last ? [new Date(last.t)] : [], y: last ? [last.mass] : [], mode: "lines+markers", showlegend: true, hoverinfo: "skip",
      line: { color: tint, width: 3, dash: DASHES[index] }, marker: { color: tint, size: 8, symbol: MARKS[index] },
    },
  ];
}

function layout(from, until, now, width) {
  const rule = colour("--line");
  const axis = { gridcolor: rule, linecolor: rule, zeroline: false, fixedrange: true, tickfont: { color: colour("--muted") } };
  return {
    margin: { l: 44, r: 12, t: 8, b: 36 },
    hovermode: "closest",
    dragmode: false,
    xaxis: { ...axis, type: "date", range: [new Date(from), new Date(until)], nticks: width < 500 ? 3 : 6, tickangle: 0 },
    yaxis: { ...axis, rangemode: "tozero", nticks: 5 },
    legend: { orientation: "h", x: 0, y: -0.19, yanchor: "top", font: { size: 12.5 } },
    shapes: [{ type: "line", x0: new Date(now), x1: new Date(now), y0: 0, y1: 1, yref: "paper", line: { color: colour("--muted"), width: 1, dash: "dot" } }],
    annotations: [{ x: new Date(now), y: 1, yref: "paper", text: "now", showarrow: false, xanchor: "left", yanchor: "top", xshift: 3, font: { color: colour("--muted"), size: 12 } }],
  };
}
