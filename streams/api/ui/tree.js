// A person's interests as the page knows them: nodes, how they decay, what is known of their past. No drawing here.

const MAX_SAMPLES = 600;
const MAX_EVENTS = 100;

export class Tree {
  constructor(user) {
    this.user = user;
    this.nodes = new Map(); // id -> node, with `at`: the moment its mass holds for
    this.samples = new Map(); // id -> [{ t, mass }], as the server sent them
    this.opened = new Map(); // id -> node as it was first seen, for its past
    this.events = new Map(); // event id -> { ts, type, itemId, title, weight, fresh }
    this.halfLives = new Map(); // level -> ms
    this.prior = false;
    this.erasedAt = null;
    this.total = { events: 0, first: 0, last: 0 };
    this.openedAt = Date.now();
  }

  /** Take the whole tree of GET /interests. */
  replace(answer) {
    this.prior = Boolean(answer.prior);
    this.erasedAt = answer.erased_at_ms ?? null;
    this.total = { events: answer.events, first: answer.first_ms, last: answer.last_ms };
    this.#keepOnly(answer.nodes);
    for (const node of answer.nodes) this.#put(node, answer.at_ms);
  }

  /** Take a live update; gives the names of the events in it that were not known. */
  apply(update) {
    if (update.erased) {
      this.nodes.clear();
      this.samples.clear();
      this.opened.clear();
      this.events.clear();
      this.erasedAt = update.at_ms;
      this.prior = false;
    }
    // Before the nodes, whose evidence names the same events.
    const fresh = update.events.filter((event) => this.#happened(event, true));
    if (update.whole) this.#keepOnly(update.nodes, this.prior);
    for (const node of update.nodes) this.#put(node, update.at_ms);
    const profile = update.nodes.find((node) => node.level === "profile");
    if (profile) this.total = { events: profile.count, first: profile.first_ms, last: profile.last_ms };
    return fresh;
  }

  /** The stream holds a person's own nodes only: those of the prior stay until the tree is read again. */
  #keepOnly(nodes, keepPrior = false) {
    const kept = new Set(nodes.map((node) => node.id));
    for (const node of [...this.nodes.values()]) if (!kept.has(node.id) && !(keepPrior && node.prior)) this.nodes.delete(node.id);
  }

  #put(node, at) {
    const before = this.nodes.get(node.id);
    if (before && before.at > at) return; // an older answer that came late
    if (node.half_life_s) this.halfLives.set(node.level, node.half_life_s * 1000);
    const evidence = node.evidence?.length ? node.evidence : (before?.evidence ?? []);
    const put = { ...node, name: node.name || before?.name || node.path, evidence, at };
    this.nodes.set(node.id, put);
    const opened = this.opened.get(node.id);
    if (!opened || (opened.count === node.count && opened.evidence.length < evidence.length)) this.opened.set(node.id, put);
    if (node.level !== "learned") for (const entry of evidence) this.#happened(entry, false); // its weights are shares
    const samples = this.samples.get(node.id) ?? [];
    samples.push({ t: at, mass: node.mass });
    if (samples.length > MAX_SAMPLES) samples.shift();
    this.samples.set(node.id, samples);
  }

  #happened(event, fresh) {
    const known = this.events.get(event.event_id);
    const type = event.type ?? known?.type ?? null;
    // One event weighs on several nodes: it is listed once, with the weight the update named, or the largest.
    const kept = known && !fresh && (known.named || Math.abs(known.weight) >= Math.abs(event.weight));
    const weight = kept ? known.weight : event.weight;
    this.events.set(event.event_id, {
      id: event.event_id, ts: event.ts_ms, type, weight,
      itemId: event.item_id ?? known?.itemId ?? null, title: event.title ?? known?.title ?? null,
      fresh: known ? known.fresh : fresh, named: fresh || Boolean(known?.named),
    });
    if (this.events.size > 2 * MAX_EVENTS) {
      this.events = new Map(this.lastEvents(MAX_EVENTS).map((one) => [one.id, one]));
    }
    return !known;
  }

  lastEvents(count) {
    return [...this.events.values()].sort((a, b) => b.ts - a.ts || (a.id < b.id ? 1 : -1)).slice(0, count);
  }

  /** A node's mass at a moment: as the server last sent it, decayed. */
  mass(node, t) {
    return node.mass * decay(t - node.at, this.halfLives.get(node.level));
  }

  /** The living nodes of a level, heaviest first, each with `now` (mass) and `part` (of its level). */
  level(name, t) {
    const found = [...this.nodes.values()]
      .filter((node) => node.level === name && node.expires_at_ms > t)
      .map((node) => ({ ...node, now: this.mass(node, t) }))
      .sort((a, b) => b.now - a.now || (a.path < b.path ? -1 : 1));
    const sum = found.reduce((total, node) => total + node.now, 0);
    return found.map((node) => ({ ...node, part: sum ? node.now / sum : 0 }));
  }

  profile(t) {
    return this.level("profile", t)[0] ?? null;
  }

  /** Topics with their interests, the session, what is pushed away, situations, and what a model says, in this order. */
  groups(t) {
    const interests = this.level("interest", t);
    const topics = this.level("topic", t).map((topic) => ({
      node: topic,
      children: interests.filter((one) => one.path.startsWith(`${topic.path}/`)).map((node) => ({ node, children: [] })),
    }));
    const placed = new Set(topics.flatMap((topic) => topic.children.map((child) => child.node.id)));
    const alone = interests.filter((one) => !placed.has(one.id)).map((node) => ({ node, children: [] }));
    const flat = (level) => this.level(level, t).map((node) => ({ node, children: [] }));
    return [
      { id: "topics", title: "Topics and interests", rows: [...topics, ...alone] },
      { id: "session", title: "This session", rows: flat("session") },
      { id: "aversion", title: "Pushed away", rows: flat("aversion").filter((row) => row.node.path !== "/") },
      { id: "context", title: "In a situation", rows: flat("context") },
      { id: "learned", title: "Learned", rows: this.#learned(t) },
    ].filter((group) => group.rows.length);
  }

  /** The nodes of the model that spoke last, the interest first. */
  #learned(t) {
    const nodes = this.level("learned", t).sort((a, b) => (a.path < b.path ? -1 : 1));
    const latest = nodes.reduce((last, node) => ((node.made_ms ?? 0) > (last?.made_ms ?? 0) ? node : last), nodes[0]);
    return nodes.filter((node) => node.model === latest.model).map((node) => ({ node, children: [] }));
  }

  /**
   * A node's mass over time, in three parts. `guess`: up to its last event before the page was opened, the strongest
   * events exactly and what else it weighs spread evenly between its first and last event. `known`: since then, where
   * decay and the server's answers leave nothing open. `ahead`: if nothing more happens.
   */
  curve(node, from, until, now, steps = 90) {
    const halfLife = this.halfLives.get(node.level);
    const samples = this.samples.get(node.id) ?? [];
    const times = (a, b) => grid(a, b, (until - from) / steps);
    const opened = this.opened.get(node.id);
    const first = samples[0]?.t ?? now;
    const guess = [];
    const known = [];
    if (halfLife && opened?.first_ms && from < first) {
      const last = Math.min(opened.last_ms, first);
      guess.push(...guessed(opened, halfLife, from, last, times));
      for (const t of times(Math.max(from, last), first)) known.push({ t, mass: opened.mass * 2 ** ((opened.at - t) / halfLife) });
    }
    samples.forEach((sample, index) => {
      const end = samples[index + 1]?.t ?? now;
      for (const t of times(sample.t, Math.max(sample.t, end - 1))) known.push({ t, mass: sample.mass * decay(t - sample.t, halfLife) });
    });
    const ahead = halfLife ? times(now, until).map((t) => ({ t, mass: this.mass(node, t) })) : [];
    return { guess, known: known.filter((point) => point.t >= from), ahead };
  }

  /** How much of a node's mass its evidence makes up. */
  static covered(node) {
    return Math.min(1, (node.evidence ?? []).reduce((sum, entry) => sum + entry.share, 0));
  }
}

/** 2^(−elapsed/half-life); 1 before the moment the mass holds for, and where the half-life is not known. */
export function decay(elapsed, halfLife) {
  return halfLife && elapsed > 0 ? 2 ** (-elapsed / halfLife) : 1;
}

function guessed(node, halfLife, from, last, times) {
  const events = node.evidence.filter((entry) => entry.ts_ms <= last);
  const weigh = (t) => events.reduce((sum, one) => sum + (one.ts_ms <= t ? Math.abs(one.weight) * decay(t - one.ts_ms, halfLife) : 0), 0);
  // The rest came at an even rate: of that rate the share 1 - 2^(-age/h) is left after a while.
  const rest = Math.max(0, node.mass * 2 ** ((node.at - last) / halfLife) - weigh(last));
  const grown = (t) => 1 - 2 ** (-(t - node.first_ms) / halfLife);
  const whole = grown(last);
  const start = Math.max(from, node.first_ms);
  const points = withJumps(times(start, last), events.map((entry) => entry.ts_ms));
  const before = from < node.first_ms ? times(from, Math.min(node.first_ms - 1, last)).map((t) => ({ t, mass: 0 })) : [];
  return [...before, ...points.map((t) => ({ t, mass: weigh(t) + (whole > 0 ? (rest * grown(t)) / whole : rest) }))];
}

function grid(from, until, step) {
  if (!(until >= from) || !(step > 0)) return [];
  const count = Math.min(400, Math.ceil((until - from) / step));
  const times = Array.from({ length: count }, (_, index) => from + index * step);
  return [...times, until];
}

function withJumps(times, jumps) {
  if (!times.length) return [];
  const inside = jumps.filter((t) => t >= times[0] && t <= times.at(-1)).flatMap((t) => [t - 1, t]);
  return [...times, ...inside].sort((a, b) => a - b);
}
