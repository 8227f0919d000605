// What an order will cost, asked before it is sent; and the command that would send it.
import { html, useEffect, useState } from "../lib/html.js";
import { post } from "../lib/api.js";
import { curlOf } from "../lib/curl.js";
import { currency, money } from "../lib/format.js";
import { useSettled } from "../lib/hooks.js";
import { operationOf } from "../lib/orders.js";
import { t } from "../lib/words.js";
import { Card, Code } from "./ui.js";

const MATTERS = ["model_name", "n", "mode", "duration"];
const FIELDS = { n: "number", mode: "mode", duration: "duration" };

/** Only what a price depends on goes into the question: pictures and texts stay here, a word stands for them. */
function asked(kind, order) {
  const kept = Object.fromEntries(MATTERS.filter((name) => name in order).map((name) => [name, order[name]]));
  return { ...kept, prompt: "-", ...(kind.startsWith("image2") ? { image: "https://example.com/picture.png" } : {}) };
}

/** A line of a quote as the API writes it, in the language in force; what is not known stays as it is. */
export function lineIn(line) {
  const [, each, model] = /^(\S+) per (?:picture|(.+) video)$/.exec(line) || [];
  if (each) return model ? t("{amount} per {model} video", { amount: each, model }) : t("{amount} per picture", { amount: each });
  const [, times, field, value, gap] = /^x (\S+) for (\w+) (\S+)( \(not in the list\))?$/.exec(line) || [];
  if (!times) return line;
  const factor = t("× {times} for {what}", { times, what: `${t(FIELDS[field] || field)} ${value}` });
  return gap ? `${factor} (${t("not in the price list")})` : factor;
}

export function Price({ kind, order }) {
  const [quote, see] = useState(null);
  const [isUnknown, unknown] = useState(false);
  const question = useSettled(JSON.stringify([kind, asked(kind, order)]), 200);
  useEffect(() => {
    const ended = new AbortController();
    const [of, body] = JSON.parse(question);
    post("/v1/quotes", { operation: operationOf(of), ...body }, { signal: ended.signal }).then(
      (found) => { see(found); unknown(false); },
      (error) => error.name === "AbortError" || unknown(true),
    );
    return () => ended.abort();
  }, [question]);
  return html`<div class="price" aria-live="polite">
    <span class="hint">${t("Price")}</span>
    ${quote && !isUnknown ? html`<strong class="num">${money(quote.amount)} <small>${currency(quote.currency, quote.amount)}</small></strong>
      <span class="hint lines">${quote.lines.map(lineIn).join(" ")}${!quote.listed && ` · ${t("not in the price list")}`}</span>`
    : html`<strong>–</strong>`}
  </div>`;
}

export const SameByCurl = ({ kind, order, pictures }) => html`
  <${Card} title=${t("The same with curl")} kind="flat">
    <${Code} label="curl" text=${curlOf(kind, order, pictures)} shown=${curlOf(kind, order, pictures, { isSecret: true })} />
  <//>`;
