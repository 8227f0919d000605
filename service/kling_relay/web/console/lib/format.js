// Formats numbers, times and texts.
import { locale, t } from "./i18n.js";

const UNITS = [
  ["year", 31536000],
  ["month", 2592000],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** Return milliseconds since 1970 from a number or an RFC 3339 text, null for an empty value. */
export function moment(at) {
  if (at === null || at === undefined || at === "") return null;
  const time = typeof at === "number" ? at : Date.parse(at);
  return Number.isNaN(time) ? null : time;
}

/** "3 minutes ago", "in 2 hours". */
export function ago(at, now = Date.now()) {
  const when = moment(at);
  if (when === null) return "–";
  const seconds = (when - now) / 1000;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || UNITS.at(-1);
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: "auto", style: "short" });
  return format.format(Math.trunc(seconds / size), unit);
}

/** The full local time, to the second. */
export function stamp(at) {
  const when = moment(at);
  if (when === null) return "–";
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "medium" }).format(when);
}

/** The local time of day, with milliseconds if `fine`. */
export function clock(at, { fine = false } = {}) {
  const when = moment(at);
  if (when === null) return "–";
  const options = {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    ...(fine ? { fractionalSecondDigits: 3 } : {}),
  };
  return new Intl.DateTimeFormat(locale(), { ...options, hour12: false }).format(when);
}

/** A duration in milliseconds: "420 ms", "3.2 s", "4 min 5 s", "2 h 10 min". */
export function span(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return t("{seconds} s", { seconds: (ms / 1000).toFixed(ms < 10_000 ? 1 : 0) });
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60)
    return t("{minutes} min {seconds} s", { minutes: minutes, seconds: Math.floor((ms % 60_000) / 1000) });
  const hours = Math.floor(minutes / 60);
  return hours < 48
    ? t("{hours} h {minutes} min", { hours, minutes: minutes % 60 })
    : t("{days} days", { days: Math.floor(hours / 24) });
}

/** A number with thousands separators. */
export const number = (value) =>
  value === null || value === undefined ? "–" : new Intl.NumberFormat(locale()).format(value);

/** A share from 0 to 1 as a percentage, rounded down to 99.9% unless it is exactly 1. */
export function share(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0.999 && value < 1) return "99.9%";
  return `${(value * 100).toFixed(value === 1 || value === 0 ? 0 : 1)}%`;
}

/** A decimal text without trailing zeros. */
export const money = (text) =>
  text === null || text === undefined
    ? "–"
    : String(text).includes(".")
      ? String(text).replace(/\.?0+$/, "")
      : String(text);

/** The sum of decimal texts, exact to twelve places: amounts are never floats. */
export function total(texts) {
  const parts = texts.map((text) => /^(-?)(\d+)(?:\.(\d+))?$/.exec(text)).filter(Boolean);
  const whole = parts.reduce(
    (sum, [, sign, ones, rest = ""]) => sum + BigInt(`${sign}${ones}${rest.slice(0, 12).padEnd(12, "0")}`),
    0n,
  );
  const digits = String(whole < 0n ? -whole : whole).padStart(13, "0");
  return money(`${whole < 0n ? "-" : ""}${digits.slice(0, -12)}.${digits.slice(-12)}`);
}

/** The name of an amount's currency; "unit" has a plural. */
export const currency = (name, amount) => t(name === "unit" && money(amount) !== "1" ? "units" : name);

/** A duration in milliseconds, short enough for an axis. */
export function brevity(ms) {
  if (!ms) return "0";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${+(ms / 1000).toFixed(1)} s`;
  return ms < 3_600_000 ? `${+(ms / 60_000).toFixed(1)} min` : `${+(ms / 3_600_000).toFixed(1)} h`;
}

/** The last characters of an id, which tell it from others. */
export const brief = (id) => (id && id.length > 13 ? `…${id.slice(-8)}` : id);

/** Indented JSON; other text stays as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(typeof text === "string" ? JSON.parse(text) : text, null, 2);
  } catch {
    return String(text);
  }
}

/** Bytes as KB or MB. */
export const size = (bytes) =>
  bytes < 1024 * 1024 ? `${Math.max(1, Math.round(bytes / 1024))} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
