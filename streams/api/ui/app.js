// The page: which person is on show, what is asked for them, and what changes when something happens to them.

import { getJson, query, userPath } from "./api.js";
import { Audience } from "./audience.js";
import { onTheme, themeSwitch } from "./charts.js";
import { Detail } from "./detail.js";
import { announce, byId, setText } from "./dom.js";
import { Events } from "./events.js";
import { clear, fail } from "./failing.js";
import { moment, number, refreshTimes, setTime, signed, span, verdict } from "./format.js";
import { follow } from "./live.js";
import { Recents } from "./recents.js";
import { Recommendations } from "./recommend.js";
import { Send } from "./send.js";
import { Sunburst } from "./sunburst.js";
import { Tree } from "./tree.js";
import { TreeGrid } from "./treegrid.js";
import { Users } from "./users.js";
import { Weights } from "./weights.js";

const NOBODY_EVERY_MS = 3_000;
const AGE_EVERY_MS = 20_000;
const REREAD_MS = 900;
const ANY_TREE = { evidence: 8, limit: 1000 };

let user = null;
let tree = null;
let picked = null;
let stream = null;
let reread = null;
let nobody = null;

const pick = (id) => {
  picked = id;
  detail.show(tree, id);
  grid.pick(id);
};
const grid = new TreeGrid(pick);
const sunburst = new Sunburst(pick);
const detail = new Detail();
const weights = new Weights();
const events = new Events();
const send = new Send(() => user, sent);
const recommendations = new Recommendations((type, item) => send.send(user, { type, item_id: item.item_id }));
const recents = new Recents();
const users = new Users(open);
new Audience(open);
users.onRetry = begin;

// -- who is on show ------------------------------------------------------------------------------------------------

const named = () => new URLSearchParams(location.hash.slice(1)).get("user");

function open(name) {
  if (name === user) return;
  const hash = `#${new URLSearchParams({ user: name })}`;
  if (named() !== name) history.pushState(null, "", hash);
  leave();
  user = name;
  tree = new Tree(name);
  picked = null;
  grid.reset();
  users.show(name);
  document.title = `${name} · Interests, live`;
  setText(byId("who-name"), name);
  byId("empty").hidden = true;
  aboutPerson(true);
  byId("send-words").textContent = "";
  send.askUser(false);
  clear(byId("tree-problem"));
  draw();
  read(name).then(() => name === user && watch(name)); // the stream repeats the tree, with less behind each interest
  recommendations.of(name);
  recents.of(name);
}

function leave() {
  stream?.close();
  clearTimeout(reread);
  clearTimeout(nobody);
  stream = null;
}

function aboutPerson(shown) {
  for (const id of ["person", "recommend-card", "events-card", "recents-card", "audience-card"]) byId(id).hidden = !shown;
}

/** Nobody to show: say what to do, and look now and then whether somebody has come. */
function empty() {
  leave();
  user = null;
  tree = null;
  aboutPerson(false);
  byId("empty").hidden = false;
  send.askUser(true);
  users.show(null);
  state("idle", "No one on show");
  nobody = setTimeout(begin, NOBODY_EVERY_MS);
}

async function begin() {
  clearTimeout(nobody);
  if (named()) {
    open(named());
    return;
  }
  const cards = await users.first();
  if (user) return;
  if (cards?.length) {
    const latest = cards.reduce((one, other) => (other.last_ms > one.last_ms ? other : one));
    history.replaceState(null, "", `#${new URLSearchParams({ user: latest.user_id })}`);
    open(latest.user_id);
  } else if (cards) empty();
  else nobody = setTimeout(begin, NOBODY_EVERY_MS); // the failure is on show; it may be a stack that is starting
}

// -- what is known of them -----------------------------------------------------------------------------------------

async function read(name) {
  try {
    const answer = await getJson(userPath(name, "interests") + query(ANY_TREE));
    if (name !== user) return;
    clear(byId("tree-problem"));
    tree.replace(answer);
    send.arrived(tree);
    draw();
  } catch (error) {
    if (name !== user) return;
    if (error.status === 404) draw();
    else fail(byId("tree-problem"), error, () => read(name));
  }
}

function watch(name) {
  stream = follow(userPath(name, "live"), {
    onEvent: (event) => {
      if (event.event === "update" && name === user) happened(JSON.parse(event.data));
    },
    onState: (now, { ms, problem }) => {
      if (name !== user) return;
      if (now === "live") state("live", "Live");
      else if (now === "connecting") state("connecting", "Connecting…");
      else state("waiting", `Not live${problem ? `: ${problem.message}` : ""} Trying again in ${span(ms)}.`);
    },
  });
}

/** An update from the stream. It holds a newcomer's own nodes only; what the prior still adds is read again. */
function happened(update) {
  const before = new Map(tree.level("topic", update.at_ms).map((node) => [node.id, node]));
  const fresh = tree.apply(update);
  send.arrived(tree);
  draw();
  if (update.whole && !update.events.length) return;
  setText(byId("live-last"), `last change ${moment(update.at_ms)}`);
  if (update.erased) announce("This person was erased: all interests are gone.");
  else if (fresh.length) announce(spoken(fresh, before, update));
  recommendations.refresh();
  recents.refresh();
  if (!tree.prior) return;
  const name = user;
  clearTimeout(reread);
  reread = setTimeout(() => read(name), REREAD_MS);
}

function spoken(fresh, before, update) {
  const last = fresh.at(-1);
  const moved = update.nodes.filter((node) => node.level === "topic").map((node) => {
    const was = before.get(node.id);
    const current = tree.nodes.get(node.id);
    return `${current?.name ?? node.path} ${was ? `from ${number(was.now)} ` : ""}to ${number(node.mass)}`;
  });
  const one = `${last.type}${last.title ? ` on ${last.title}` : ""}, ${verdict(last.weight).word} ${signed(last.weight, 1)}`;
  return `${fresh.length === 1 ? one : `${fresh.length} events, the last a ${one}`}. ${moved.slice(0, 2).join("; ")}`;
}

function sent(name) {
  if (user === null) open(name);
}

// -- drawing -------------------------------------------------------------------------------------------------------

let due = false;

/** Draw once a frame at most, however many updates come. */
function draw() {
  if (due) return;
  due = true;
  // A page in the background gets no frames; it still shows the truth when it is looked at again.
  setTimeout(() => {
    due = false;
    if (tree) paint();
  }, 16);
}

function paint() {
  const now = Date.now();
  const known = tree.nodes.size > 0;
  setText(byId("who-events"), String(tree.total.events));
  for (const [id, ms] of [["who-first", tree.total.first], ["who-last", tree.total.last]]) setTime(byId(id), ms);
  const profile = tree.profile(now);
  const side = profile && verdict(profile.net);
  setText(byId("who-sign"), side ? `${side.mark} ${side.word} ${signed(profile.net)}` : "nothing yet");
  byId("who-sign").className = `sign ${side?.kind ?? ""}`;
  byId("prior").hidden = !tree.prior;
  byId("erased").hidden = !tree.erasedAt || known;
  byId("newcomer").hidden = known || tree.erasedAt !== null;
  if (tree.erasedAt) setTime(byId("erased-at"), tree.erasedAt);
  if (!picked || !tree.nodes.has(picked)) picked = tree.level("topic", now)[0]?.id ?? tree.level("session", now)[0]?.id ?? null;
  grid.pick(picked);
  grid.show(tree, now);
  detail.show(tree, picked, now);
  events.show(tree);
  send.suggest(itemsOnPage());
  drawCharts(now);
}

const itemsOnPage = () => [
  ...tree.lastEvents(40).map((event) => ({ id: event.itemId, title: event.title })),
  ...(recommendations.items ?? []).map((item) => ({ id: item.item_id, title: item.title })),
];

function drawCharts(now = Date.now()) {
  sunburst.show(tree, now).catch(console.error);
  weights.show(tree, now).catch(console.error);
}

function state(kind, words) {
  const place = byId("live");
  place.dataset.state = kind;
  setText(byId("live-words"), words);
}

// -- start ---------------------------------------------------------------------------------------------------------

themeSwitch();
onTheme(() => tree && drawCharts());
window.addEventListener("hashchange", () => (named() ? open(named()) : begin()));
window.addEventListener("popstate", () => named() && open(named()));
setInterval(() => {
  refreshTimes();
  if (tree && document.visibilityState === "visible") draw();
}, AGE_EVERY_MS);
begin();
