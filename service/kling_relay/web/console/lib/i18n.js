// Translations: the English text in the code is the key; other languages are tables of it.
import { language } from "./settings.js";
import { zh } from "../locales/zh.js";

const TABLES = { __proto__: null, zh };

/** Return `text` in the current language, with each `{name}` replaced by its value. */
export function t(text, values = {}) {
  const translation = TABLES[language()]?.[text] ?? text;
  return translation.replace(/\{(\w+)\}/g, (gap, name) => (Object.hasOwn(values, name) ? String(values[name]) : gap));
}

/** The locale for numbers and times. */
export const locale = () => (language() === "zh" ? "zh-CN" : "en-GB");
