// Words: English stands in the code and is the key; other languages are tables from it.
import { language } from "./settings.js";
import { zh } from "../words/zh.js";

const TABLES = { zh };

/** Return `text` in the language in force, `{name}` replaced by what is given. */
export function t(text, given = {}) {
  const found = TABLES[language()]?.[text] ?? text;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in given ? String(given[name]) : whole));
}

/** The locale for numbers and times. */
export const locale = () => (language() === "zh" ? "zh-CN" : "en-GB");
