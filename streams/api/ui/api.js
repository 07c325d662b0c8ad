// Talking to the server: requests with an access key where one is needed, and problems in plain words.

import { byId } from "./dom.js";

const BASE = new URL("../", import.meta.url);
const KEY = "interests.key";
const DEADLINE_MS = 20_000;

/** Something that went wrong, in words for the reader; `retryAfter` in seconds where the server named it. */
export class Problem extends Error {
  constructor(words, { status = 0, retryAfter = null, requestId = null } = {}) {
    super(words);
    this.name = "Problem";
    Object.assign(this, { status, retryAfter, requestId });
  }
}

/** The path of a user's resource: every character of an id that could mean something in an address is encoded. */
export const userPath = (user, ...rest) => ["v1/users", encodeURIComponent(user), ...rest.map(encodeURIComponent)].join("/");

export function query(values) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of [value].flat()) pairs.append(name, String(one));
  }
  const text = pairs.toString();
  return text ? `?${text}` : "";
}

export const getJson = (path, options) => askJson(path, { ...options, method: "GET" });

export const postJson = (path, body, options) =>
  askJson(path, { ...options, method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

async function askJson(path, options) {
  const signal = AbortSignal.any([AbortSignal.timeout(DEADLINE_MS), options.signal].filter(Boolean));
  const answer = await ask(path, { ...options, signal });
  try {
    return await answer.json();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("The server's answer broke off or was not JSON.", { status: answer.status });
  }
}

/** Fetch from the API. Asks the reader for a key on 401, once at a time; throws Problem for what is not a success. */
export async function ask(path, options = {}) {
  for (;;) {
    const key = storedKey();
    const headers = { Accept: "application/json", ...options.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    let answer;
    try {
      answer = await fetch(new URL(path, BASE), { ...options, headers, credentials: "same-origin", cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(
        error.name === "TimeoutError"
          ? `The server took longer than ${DEADLINE_MS / 1000} seconds.`
          : "The server does not answer. Is the API still running?",
      );
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      if (key !== storedKey()) continue; // another request has asked for it meanwhile
      if (await newKey(key !== null)) continue;
    }
    throw await problemOf(answer);
  }
}

async function problemOf(answer) {
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // A proxy may answer with something else: the status has to do.
  }
  const retryAfter = problem.retry_after_s ?? (Number(answer.headers.get("Retry-After")) || null);
  const requestId = problem.request_id ?? answer.headers.get("X-Request-ID");
  return new Problem(words(answer.status, problem, retryAfter), { status: answer.status, retryAfter, requestId });
}

const PLAIN = {
  401: "An access key is needed.",
  403: "This access key is not allowed to do that.",
  404: "There is nothing by that name.",
  413: "That is too large.",
  422: "Something in the request does not fit.",
  429: "Too many requests from this key.",
  500: "The server failed on this request.",
  503: "A part the server needs is away.",
  504: "The server did not finish in time.",
};

function words(status, problem, retryAfter) {
  const parts = [PLAIN[status] ?? `The server answered with status ${status}.`];
  const detail = typeof problem.detail === "string" ? problem.detail : problem.title;
  if (detail && detail !== parts[0]) parts.push(/[.!?]$/.test(detail) ? detail : `${detail}.`);
  for (const one of Array.isArray(problem.errors) ? problem.errors : []) parts.push(`${one.field}: ${one.message}.`);
  if (retryAfter) parts.push(`It asks to wait ${Math.ceil(retryAfter)} s.`);
  return parts.join(" ");
}

// -- the access key: kept for this tab only, and only once the server has asked for one ----------------------------

function storedKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

let asking = null;

function newKey(refused) {
  asking ??= keyFromReader(refused).finally(() => {
    asking = null;
  });
  return asking;
}

function keyFromReader(refused) {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  byId("key-refused").hidden = !refused;
  input.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const key = dialog.returnValue === "use" ? input.value.trim() : "";
        input.value = "";
        dialog.returnValue = "";
        if (key) sessionStorage.setItem(KEY, key);
        else sessionStorage.removeItem(KEY);
        resolve(key !== "");
      },
      { once: true },
    );
  });
}
