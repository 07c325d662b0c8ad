// Server-sent events over fetch, since EventSource cannot send an access key. Reconnects by itself.

import { ask, Problem } from "./api.js";

const SILENT_MS = 45_000; // the server says something at least every 15 s
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const MAX_EVENT = 8_000_000; // characters

/** Cuts a stream of text into events `{ event, data, id }`, as the HTML standard has it; comments are dropped. */
export class EventParser {
  #rest = "";
  #event = "";
  #data = [];
  #size = 0;
  lastId = "";
  retry = null;

  /** The events that `text` completes. Throws RangeError where one grows past all bounds. */
  push(text) {
    const events = [];
    this.#rest += text;
    if (this.#rest.length + this.#size > MAX_EVENT) throw new RangeError("an event is too large");
    for (;;) {
      const end = this.#rest.search(/[\r\n]/);
      // A line that ends in CR may end in CRLF, of which the LF has not come yet.
      if (end < 0 || (this.#rest[end] === "\r" && end === this.#rest.length - 1)) return events;
      const line = this.#rest.slice(0, end);
      this.#rest = this.#rest.slice(end + (this.#rest.startsWith("\r\n", end) ? 2 : 1));
      if (line) this.#field(line);
      else {
        if (this.#data.length) events.push({ event: this.#event || "message", data: this.#data.join("\n"), id: this.lastId });
        this.#event = "";
        this.#data = [];
        this.#size = 0;
      }
    }
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
    } else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.lastId = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}

/**
 * Follow a stream until `close()`: `onEvent({ event, data, id })` for each event, `onState(state, detail)` with
 * "connecting", "live", or "waiting" (detail: { ms, problem }).
 */
export function follow(path, { onEvent, onState }) {
  const ended = new AbortController();
  let lastId = "";
  let failures = 0;

  async function once() {
    const silent = new AbortController();
    let timer = null;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(new DOMException("silent", "TimeoutError")), SILENT_MS);
    };
    heard();
    try {
      const headers = { Accept: "text/event-stream" };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const answer = await ask(path, { headers, signal: AbortSignal.any([ended.signal, silent.signal]) });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      onState("live", {});
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Problem("The stream ended.");
        heard();
        for (const event of parser.push(value)) {
          failures = 0;
          lastId = event.id;
          onEvent(event);
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async function run() {
    while (!ended.signal.aborted) {
      onState("connecting", {});
      try {
        await once();
      } catch (error) {
        if (ended.signal.aborted) return;
        failures += 1;
        const backoff = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(failures - 1, 8));
        const ms = Math.max(backoff * (0.5 + Math.random() / 2), 1000 * (error.retryAfter ?? 0));
        onState("waiting", { ms, problem: error instanceof Problem ? error : null });
        await pause(ms, ended.signal);
      }
    }
  }

  run();
  return { close: () => ended.abort() };
}

/** Wait, but no longer than until the signal or until the network or the reader comes back. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      window.removeEventListener("online", over);
      document.removeEventListener("visibilitychange", back);
      signal.removeEventListener("abort", over);
      resolve();
    };
    const back = () => document.visibilityState === "visible" && over();
    const timer = setTimeout(over, ms);
    window.addEventListener("online", over);
    document.addEventListener("visibilitychange", back);
    signal.addEventListener("abort", over);
  });
}
