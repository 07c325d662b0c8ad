// plotly, loaded once and only when something is to be drawn; the page works without it.

import { byId } from "./dom.js";

const MAP_STYLE = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";

/** Lines differ by colour and by dash: never by colour alone. */
export const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

let loading = null;

/** The library; null where it cannot be loaded. */
export function plotly() {
  loading ??= new Promise((resolve) => {
    // The bundle brings the style sheet of a map library, which the page's policy would refuse and log: an element of
    // the sheet's id tells it that the sheet is there. Maps are not used.
    if (!byId(MAP_STYLE)) document.head.append(Object.assign(document.createElement("meta"), { id: MAP_STYLE }));
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", import.meta.url).href;
    script.addEventListener("load", () => resolve(window.Plotly ?? null));
    script.addEventListener("error", () => {
      loading = null;
      resolve(null);
    });
    document.head.append(script);
  });
  return loading;
}

const QUIET = { displayModeBar: false, responsive: true, showTips: false, scrollZoom: false, doubleClick: false };

/** Draw into a box, or draw anew. Gives the box, or null where there is no chart library. */
export async function draw(box, traces, layout) {
  const library = await plotly();
  if (!library || !box.isConnected) return null;
  await library.react(box, traces, { ...base(), ...layout }, QUIET);
  return box;
}

export async function forget(box) {
  (await plotly())?.purge(box);
}

function base() {
  const ink = colour("--ink");
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink },
    hoverlabel: { bgcolor: colour("--surface"), bordercolor: colour("--line"), font: { color: ink } },
    margin: { l: 0, r: 0, t: 0, b: 0 },
  };
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Mix two colours of the form #rrggbb: 0 gives the first, 1 the second. */
export function mix(one, two, share) {
  const parts = (text) => [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
  const other = parts(two);
  const mixed = parts(one).map((value, index) => Math.round(value + (other[index] - value) * share));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** The colour of a net sign from −1 (against) to 1 (for). */
export function signColour(net, lighter = 0) {
  const strength = 0.25 + 0.75 * Math.min(1, Math.abs(net));
  const full = net < -0.05 ? colour("--against-fill") : net > 0.05 ? colour("--for-fill") : colour("--mixed-fill");
  return mix(mix(colour("--mixed-fill"), full, strength), colour("--surface"), lighter);
}

/** plotly reads some markup in labels: names are to be shown as they are. */
export const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");

export const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Call back when the theme changes, by the system or by the switch. */
export function onTheme(callback) {
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
  new MutationObserver(callback).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
}

/** The switch: what the system says until one is chosen, then the chosen. */
export function themeSwitch() {
  const button = byId("theme");
  const dark = () =>
    (document.documentElement.dataset.theme ?? (window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.setAttribute("aria-pressed", String(dark()));
  };
  button.addEventListener("click", () => {
    const chosen = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem("interests.theme", chosen);
    } catch {
      // It then holds for this visit.
    }
  });
  onTheme(show);
  show();
}
