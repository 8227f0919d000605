// Settings live in this browser alone: the service's address, the key, the language and the theme.
import { useState, useEffect } from "./html.js";

const PLACE = "kling-relay";
const USUAL = { address: "", key: "", language: "", theme: "auto" };
const listeners = new Set();
let current = read();

function read() {
  try {
    return { ...USUAL, ...JSON.parse(localStorage.getItem(PLACE) || "{}") };
  } catch {
    return { ...USUAL };
  }
}

/** Return the settings in force. */
export const settings = () => current;

/** Change some settings, remember them here, and tell everybody who asked. */
export function change(some) {
  current = { ...current, ...some };
  try {
    localStorage.setItem(PLACE, JSON.stringify(current));
  } catch { /* a browser that keeps nothing still works until the page is closed */ }
  listeners.forEach((listener) => listener(current));
}

/** Call `listener` at every change; returns how to stop. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The settings in force, as a hook. */
export function useSettings() {
  const [seen, see] = useState(current);
  useEffect(() => onChange(see), []);
  return seen;
}

/** Return the base of the service's API, without a slash at its end. */
export const base = () => (current.address || location.origin).replace(/\/+$/, "");

/** Return the language in force: what was chosen, else what the browser prefers. */
export const language = () => current.language || (navigator.language.startsWith("zh") ? "zh" : "en");

// another tab's change is ours too
addEventListener("storage", (event) => {
  if (event.key === PLACE) {
    current = read();
    listeners.forEach((listener) => listener(current));
  }
});
