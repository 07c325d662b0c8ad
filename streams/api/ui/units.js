// Numbers with their units: of a panel's values and of its axis.

const MINUS = "\u2212";
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** How values of a unit are written that go up to `size`: multiply by `factor`, then put `name` behind. */
function scale(unit, size) {
  const most = Math.abs(size);
  if (unit === "s") return seconds(most);
  if (unit === "share") return { factor: 100, name: " %" };
  if (unit === "per_s") return rate(most);
  if (unit === "bytes") {
    const power = most < 1 ? 0 : Math.min(BYTES.length - 1, Math.floor(Math.log2(most) / 10));
    return { factor: 2 ** (-10 * power), name: ` ${BYTES[power]}` };
  }
  return { factor: 1, name: "" };
}

function rate(most) {
  if (most === 0 || most >= 0.1) return { factor: 1, name: "/s" };
  return most >= 0.1 / 60 ? { factor: 60, name: "/min" } : { factor: 3600, name: "/h" };
}

function seconds(most) {
  if (most === 0) return { factor: 1, name: " s" };
  if (most < 1e-3) return { factor: 1e6, name: " µs" };
  if (most < 1) return { factor: 1e3, name: " ms" };
  if (most < 120) return { factor: 1, name: " s" };
  if (most < 7200) return { factor: 1 / 60, name: " min" };
  return { factor: 1 / 3600, name: " h" };
}

/** A value with its unit, in about three digits: 42 ms, 1.20 s, 0 B, 12,345, 99.1 %. */
export function written(value, unit) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const base = unit === "us" ? value / 1e6 : value;
  const { factor, name } = scale(unit === "us" ? "s" : unit, base);
  return `${digits(base * factor, unit)}${name}`;
}

function digits(value, unit) {
  const size = Math.abs(value);
  const whole = Number.isInteger(value) && unit !== "s" && unit !== "us";
  const places = whole || size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 3;
  const text = value.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: places });
  return text.replace("-", MINUS);
}

/** Marks of an axis from `least` to `most`: about `wanted` round numbers, and what is written at them. */
export function ticks(least, most, unit, wanted = 4) {
  const base = unit === "us" ? 1e-6 : 1;
  const { factor, name } = scale(unit === "us" ? "s" : unit, Math.max(Math.abs(least), Math.abs(most)) * base);
  const [from, to] = [least * base * factor, most * base * factor];
  const step = round(Math.max((to - from) / wanted, 1e-12));
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const values = [];
  const words = [];
  for (let count = Math.ceil(from / step - 1e-9); count * step <= to * (1 + 1e-9); count++) {
    const at = count === 0 ? 0 : count * step; // never −0
    values.push(at / factor / base);
    words.push(`${at.toLocaleString("en", { maximumFractionDigits: Math.min(places + 1, 6) }).replace("-", MINUS)}${at === 0 ? "" : name}`);
  }
  return { values, words };
}

/** The next round number: 1, 2, 2.5 or 5 times a power of ten. */
function round(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return power * [1, 2, 2.5, 5, 10].find((one) => one * power >= step * (1 - 1e-9));
}
