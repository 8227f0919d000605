// Settings, stored in this browser only: the service's URL, the key, the language and the theme.
import { useState, useEffect } from "./html.js";

const STORAGE_KEY = "kling-relay";
const DEFAULTS = { address: "", key: "", language: "", theme: "auto" };
const listeners = new Set();
let current = read();

function read() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(STORAGE_KEY) || "{}") };
  } catch {
    return { ...DEFAULTS };
  }
}

/** Return the current settings. */
export const settings = () => current;

/** Change some settings, store them, and notify the listeners. */
export function change(changes) {
  current = { ...current, ...changes };
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(current));
  } catch {
    /* without storage the settings last until the page is closed */
  }
  listeners.forEach((listener) => listener(current));
}

/** Call `listener` at every change; return a function that stops it. */
export function onChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The current settings, as a hook. */
export function useSettings() {
  const [value, setValue] = useState(current);
  useEffect(() => onChange(setValue), []);
  return value;
}

/** Return the base URL of the API, without a trailing slash. */
export const base = ({ address } = current) => (address || location.origin).replace(/\/+$/, "");

/** The service and the key as one text, which changes if either does. */
export const connection = () => `${base()} ${current.key}`;

/** Return the chosen language, or else the browser's. */
export const language = () => current.language || (navigator.language.startsWith("zh") ? "zh" : "en");

// follow changes made in another tab
addEventListener("storage", (event) => {
  if (event.key === STORAGE_KEY) {
    current = read();
    listeners.forEach((listener) => listener(current));
  }
});
