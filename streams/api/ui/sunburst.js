// The tree as a sunburst or a treemap, coloured by net sign. The table below it shows the same.

import { colour, draw, plain, signColour, still } from "./charts.js";
import { byId, setText } from "./dom.js";
import { number, percent, signed, verdict } from "./format.js";

const MOST_TOPICS = 24;
const LEAST_SHARE = 0.004;

/**
 * Sectors of a tree: topics by their share of all topics' mass, and inside one its interests by their share of all its
 * interests' mass, which have a half-life of their own; so a ring's angles compare within the ring's own level only.
 */
export function sectors(tree, now) {
  const group = tree.groups(now).find((one) => one.id === "topics");
  const rows = (group?.rows ?? []).filter((row) => row.node.level === "topic" && row.node.part >= LEAST_SHARE).slice(0, MOST_TOPICS);
  const found = [];
  for (const { node, children } of rows) {
    found.push({ node, parent: "", value: node.part, share: node.part });
    const sum = children.reduce((total, child) => total + child.node.now, 0);
    // Drawn a little smaller than the topic: what rounding adds up to must not pass its whole.
    for (const child of children) {
      const share = child.node.now / sum;
      if (share >= 0.01) found.push({ node: child.node, parent: node.id, value: node.part * share * 0.999999, share });
    }
  }
  return found;
}

export class Sunburst {
  #box = byId("tree-chart");
  #bound = false;
  #drawn = "";
  #form = "sunburst";

  constructor(onPick) {
    this.onPick = onPick;
    for (const input of document.querySelectorAll("input[name=form]")) {
      input.addEventListener("change", () => {
        this.#form = input.value;
        this.redraw();
      });
      if (input.checked) this.#form = input.value;
    }
  }

  async show(tree, now = Date.now()) {
    this.last = tree;
    const found = sectors(tree, now);
    const drawn = JSON.stringify([this.#form, colour("--surface"), tree.user, found.map(({ node, value }) => [node.id, node.name, value.toFixed(3), node.net.toFixed(2), node.count])]);
    if (drawn === this.#drawn) return; // decay alone moves nothing that could be seen
    this.#drawn = drawn;
    const few = found.length === 0;
    byId("tree-picture").hidden = few;
    if (few) return;
    const topics = found.filter((one) => !one.parent);
    this.#box.setAttribute(
      "aria-label",
      `${this.#form === "sunburst" ? "Sunburst" : "Treemap"} of ${topics.length} topics, the largest ${topics[0].node.name}. The table below holds the same.`,
    );
    const box = await draw(this.#box, [this.#trace(found)], this.#layout());
    setText(byId("no-charts"), box ? "" : "The chart library could not be loaded; the table holds everything.");
    if (box && !this.#bound) this.#listen(box);
  }

  redraw() {
    if (this.last) this.show(this.last);
  }

  #trace(found) {
    const hover = ({ node, parent, share }) =>
      [
        plain(node.name),
        `${parent ? `${percent(share)} of the interests in this topic` : `${percent(share)} of all topics`}`,
        `weight ${number(node.now)}, ${node.count} ${node.count === 1 ? "event" : "events"}`,
        `${verdict(node.net).word} ${signed(node.net)}`,
      ].join("<br>");
    return {
      type: this.#form,
      ids: found.map((one) => one.node.id),
      labels: found.map((one) => plain(one.node.name)).map(folded),
      parents: found.map((one) => one.parent),
      values: found.map((one) => one.value),
      text: found.map((one) => (one.node.net < -0.05 ? "▼ against" : one.node.net <= 0.05 ? "◆ mixed" : "")),
      textinfo: "label+text",
      hovertext: found.map(hover),
      hoverinfo: "text",
      branchvalues: "total",
      insidetextorientation: "auto",
      sort: true,
      tiling: { pad: 2 },
      pathbar: { visible: false },
      marker: {
        colors: found.map((one) => signColour(one.node.net, one.parent ? 0.28 : 0)),
        pattern: {
          shape: found.map((one) => (one.node.net < -0.05 ? "/" : "")), solidity: 0.15, fillmode: "replace", size: 9,
          fgcolor: colour("--surface"), fgopacity: 0.6, bgcolor: found.map((one) => signColour(one.node.net, one.parent ? 0.28 : 0)),
        },
        line: { color: colour("--surface"), width: 2 },
      },
      leaf: { opacity: 1 },
      domain: { x: [0, 1], y: [0, 1] },
    };
  }

  #layout() {
    const motion = still() ? {} : { transition: { duration: 250, easing: "cubic-out" } };
    return { ...motion, uniformtext: { minsize: 9, mode: "hide" }, margin: { l: 2, r: 2, t: 2, b: 2 } };
  }

  #listen(box) {
    this.#bound = true;
    const pick = (event) => {
      const id = event.points?.[0]?.id;
      if (id) this.onPick(id);
      return false; // stay where we are: a press shows what is behind a sector
    };
    box.on("plotly_sunburstclick", pick);
    box.on("plotly_treemapclick", pick);
  }
}

/** A long name on two lines, parted at the space nearest its middle. */
function folded(name) {
  if (name.length < 12) return name;
  const spaces = [...name.matchAll(/ /g)].map((found) => found.index).filter((at) => name[at + 1] !== "&");
  if (!spaces.length) return name;
  const middle = spaces.reduce((best, at) => (Math.abs(at - name.length / 2) < Math.abs(best - name.length / 2) ? at : best));
  return `${name.slice(0, middle)}<br>${name.slice(middle + 1)}`;
}
