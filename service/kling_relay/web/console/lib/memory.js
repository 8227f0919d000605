// What this tab remembers: per entry of its history, where the reader was, and the order that was sent last.
import { connection, onChange } from "./settings.js";

const STORAGE_KEY = "kling-relay";
const MAX_ENTRIES = 60;
const PATIENCE = 5000;
const { entries, order } = read();
let lastOrder = order;
let connected = connection();
let made = 0;
let current = null;
// where to scroll once the page is drawn; null while the reader scrolls
let target = null;

function read() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(STORAGE_KEY) || "{}");
    return { entries: new Map(stored.entries), order: stored.order || null };
  } catch {
    return { entries: new Map(), order: null };
  }
}

/** Enter the current entry of the history and return its id; Back leads to the same id again. */
export function visit() {
  let id = history.state?.entry;
  if (!id) {
    id = `${Date.now().toString(36)}-${(made += 1)}`;
    history.replaceState({ ...history.state, entry: id }, "");
  }
  if (id !== current) {
    current = id;
    target = entries.get(id)?.y || 0;
  }
  return id;
}

/** Remember a value for the current entry of the history. */
export function remember(name, value) {
  const before = entries.get(current);
  entries.delete(current);
  entries.set(current, { ...before, [name]: value });
  if (entries.size > MAX_ENTRIES) entries.delete(entries.keys().next().value);
}

/** Return what was remembered for the current entry, or undefined. */
export const recall = (name) => entries.get(current)?.[name];

/** Scroll to where the reader was, as soon as the page has loaded far enough; any input of the reader ends it. */
export function restoreScroll() {
  const [id, y] = [current, target];
  const until = Date.now() + PATIENCE;
  function step() {
    if (current !== id || target === null) return;
    scrollTo(0, y);
    if (Math.abs(scrollY - y) < 2 || Date.now() > until) target = null;
    else requestAnimationFrame(step);
  }
  if (y !== null) step();
}

/** The order that was sent last, until it is dismissed; null if there is none. */
export const recallOrder = () => lastOrder;
export function rememberOrder(task) {
  lastOrder = task;
}

history.scrollRestoration = "manual";
addEventListener("scroll", () => target === null && remember("y", scrollY), { passive: true });
for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"])
  addEventListener(kind, () => (target = null), { passive: true, capture: true });
addEventListener("pagehide", () => {
  try {
    sessionStorage.setItem(STORAGE_KEY, JSON.stringify({ entries: [...entries], order: lastOrder }));
  } catch {
    /* without storage the memory lasts until the page is closed */
  }
});
// another key sees other tasks
onChange(() => {
  if (connection() === connected) return;
  connected = connection();
  entries.clear();
  lastOrder = null;
});
