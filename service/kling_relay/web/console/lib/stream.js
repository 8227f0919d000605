// The stream of events: one per page, read with fetch because EventSource cannot send a key. It resumes after a break.
import { base, connection, onChange, settings } from "./settings.js";
import { useEffect, useState } from "./html.js";

const WAITS = [500, 1000, 2000, 5000, 10000];
// the service sends a heartbeat every 15 seconds, so a connection that is silent for longer than two of them is dead
const MAX_SILENCE = 35_000;
const listeners = new Set();
const watchers = new Set();
let state = "off";
let running = null;
let cursor = null;
let drop = () => {};
let wake = () => {};

function setStreamState(next) {
  if (next !== state) {
    state = next;
    watchers.forEach((watcher) => watcher(state));
  }
}

/** Emit every complete frame in `text` and return the incomplete rest. */
export function takeFrames(text, emit) {
  const parts = text.split(/\r?\n\r?\n/);
  const rest = parts.pop();
  for (const part of parts) {
    const frame = { id: null, type: "message", content: [] };
    for (const line of part.split(/\r?\n/)) {
      const at = line.indexOf(":");
      if (at <= 0) continue;
      const name = line.slice(0, at);
      const value = line.slice(at + 1).replace(/^ /, "");
      if (name === "id") frame.id = value;
      if (name === "event") frame.type = value;
      if (name === "data") frame.content.push(value);
    }
    if (frame.content.length) emit({ ...frame, content: frame.content.join("\n") });
  }
  return rest;
}

function dispatch(frame) {
  if (frame.id) cursor = frame.id;
  let event;
  try {
    event = JSON.parse(frame.content);
  } catch {
    return;
  }
  listeners.forEach((listener) => listener({ type: frame.type, ...event }));
}

async function follow(signal) {
  let failures = 0;
  while (!signal.aborted) {
    setStreamState(failures ? "waiting" : "opening");
    const dead = new AbortController();
    let watchdog = 0;
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(drop, MAX_SILENCE);
    };
    drop = () => dead.abort();
    watch();
    try {
      const response = await fetch(`${base()}/v1/events/stream`, {
        signal: AbortSignal.any([signal, dead.signal]),
        cache: "no-store",
        headers: { Authorization: `Bearer ${settings().key}`, ...(cursor ? { "Last-Event-ID": cursor } : {}) },
      });
      if (response.status === 401 || response.status === 403) return setStreamState("refused");
      if (response.status === 400) cursor = null;
      if (!response.ok) throw new Error(String(response.status));
      setStreamState("live");
      failures = 0;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        watch();
        const { value, done } = await reader.read();
        if (done) break;
        rest = takeFrames(rest + value, dispatch);
      }
    } catch {
      if (signal.aborted) return undefined;
    } finally {
      clearTimeout(watchdog);
    }
    setStreamState("waiting");
    const wait = WAITS[Math.min(failures, WAITS.length - 1)];
    failures += 1;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
      signal.addEventListener("abort", wake, { once: true });
    });
  }
  return undefined;
}

/** Start over with the current settings; without a key there is no stream. */
export function start() {
  running?.abort();
  cursor = null;
  if (!settings().key) return setStreamState("off");
  running = new AbortController();
  return void follow(running.signal);
}

let connected = connection();
onChange(() => {
  if (connection() !== connected) {
    connected = connection();
    start();
  }
});
// the browser knows of a lost network before any timeout does
addEventListener("offline", () => drop());
addEventListener("online", () => wake());

/** Call `listener` each time the stream becomes live; return a function that stops it. */
export function onLive(listener) {
  const watcher = (next) => next === "live" && listener();
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/** Call `listener` with every event, as a hook. */
export function useEvents(listener, dependencies = []) {
  useEffect(() => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, dependencies);
}

/** The state of the stream: off, opening, live, waiting or refused. */
export function useStreamState() {
  const [value, setValue] = useState(state);
  useEffect(() => {
    setValue(state);
    watchers.add(setValue);
    return () => watchers.delete(setValue);
  }, []);
  return value;
}
