// Numbers and times in words. Times are ms since 1970 and shown in the reader's own time zone.

import { el, setText } from "./dom.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const MINUS = "\u2212";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const shortDate = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });
const oldDate = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const fullDate = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "long" });

/** A number with a sign: +0.42, −1.30. */
export function signed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : (value < 0 ? MINUS : "+") + text;
}

/** A number that is never negative zero: 12.4, 0.031, 1,204. */
export function number(value) {
  if (!Number.isFinite(value)) return "?";
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 || size === 0 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", MINUS);
}

export function percent(share) {
  const value = 100 * share;
  return value > 0 && value < 1 ? "under 1 %" : `${Math.round(value)} %`;
}

/** How long in words: 40 s, 12 min, 5 h, 21 days. */
export function span(ms) {
  const size = Math.abs(ms);
  if (size < MINUTE) return `${Math.round(size / 1000)} s`;
  if (size < HOUR) return `${Math.round(size / MINUTE)} min`;
  if (size < 2 * DAY) return `${Math.round(size / HOUR)} h`;
  return `${Math.round(size / DAY)} days`;
}

/** A moment: the clock's time today, else the date. */
export function moment(ms, now = Date.now()) {
  const then = new Date(ms);
  const today = new Date(now);
  if (then.toDateString() === today.toDateString()) return clock.format(then);
  const near = then.getFullYear() === today.getFullYear() || Math.abs(now - ms) < 100 * DAY;
  return near ? shortDate.format(then) : oldDate.format(then);
}

function tooltip(ms) {
  const apart = ms - Date.now();
  const near = Math.abs(apart) < 1000 ? "now" : apart < 0 ? `${span(apart)} ago` : `in ${span(apart)}`;
  return `${fullDate.format(new Date(ms))} (${near})`;
}

/** A <time> element with the whole moment as its tooltip. */
export function time(ms) {
  const node = el("time", {});
  setTime(node, ms);
  return node;
}

export function setTime(node, ms) {
  if (!ms) {
    setText(node, "never");
    return;
  }
  const iso = new Date(ms).toISOString();
  if (node.getAttribute("datetime") !== iso) node.setAttribute("datetime", iso);
  setText(node, moment(ms));
  node.title = tooltip(ms);
}

/** Bring the tooltips of all times on the page up to date, since they say how long ago. */
export function refreshTimes() {
  for (const node of document.querySelectorAll("time[datetime]")) setTime(node, Date.parse(node.getAttribute("datetime")));
}

/** Whether something speaks for or against, in a sign, a word and a class: never by colour alone. */
export function verdict(value) {
  if (value > 0.05) return { mark: "▲", word: "for", kind: "for" };
  if (value < -0.05) return { mark: "▼", word: "against", kind: "against" };
  return { mark: "◆", word: "mixed", kind: "mixed" };
}

/** What an interest is called in a sentence about a score. */
/** What an event was about. Search words and other texts are not kept. */
export function about({ type, title, item_id: item }) {
  return title ?? item ?? (type === "search" ? "a search, whose words are not kept" : "an event without an item");
}

export function called({ level, path, name, prior }) {
  const plain = {
    profile: "everything they like",
    session: "this session",
    aversion: path === "/" ? "everything they push away" : `pushing away ${name}`,
    learned: `${path === "/" ? "their interest" : name.charAt(0).toLowerCase() + name.slice(1)} (learned)`,
  };
  return (plain[level] ?? name) + (prior ? " (prior)" : "");
}

/** The parts of a score, as they are called. */
export const PARTS = {
  relevance: "interests",
  aversion: "pushed away",
  recent: "near recent items",
  together: "touched together",
  attributes: "filed alike",
  shares: "share of its topic",
  freshness: "freshness",
  popularity: "popularity",
  touched: "taken up lately",
  learned: "learned by a model",
};

/** Which weights made some scores. */
export const madeWith = ({ weights_version: version, weights_kind: kind }) => (version ? `learned weights, version ${version} of ${kind}` : "the fixed weights");

/** Which way an interest speaks: what is pushed away speaks against, however much there is of it. */
export const leaning = (node) => (node.level === "aversion" ? -node.net : node.net);

export const LEVELS = {
  profile: "whole person",
  topic: "topic",
  interest: "fine interest",
  session: "this session",
  context: "situation",
  aversion: "pushed away",
  learned: "learned by a model",
};
