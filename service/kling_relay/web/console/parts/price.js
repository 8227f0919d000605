// The price of an order, quoted before it is sent, and the command that sends it.
import { html } from "../lib/html.js";
import { post } from "../lib/api.js";
import { curlOf } from "../lib/curl.js";
import { currency, money } from "../lib/format.js";
import { useLoaded, useSettled } from "../lib/hooks.js";
import { operationOf } from "../lib/orders.js";
import { t } from "../lib/i18n.js";
import { Card, Code } from "./ui.js";

const MATTERS = ["model_name", "n", "mode", "duration"];
const FIELDS = { __proto__: null, n: "number", mode: "mode", duration: "duration" };

/** Ask only with the fields that a price depends on; pictures and texts are replaced by placeholders. */
function questionOf(kind, order) {
  const fields = Object.fromEntries(MATTERS.filter((name) => name in order).map((name) => [name, order[name]]));
  return { ...fields, prompt: "-", ...(kind.startsWith("image2") ? { image: "https://example.com/picture.png" } : {}) };
}

/** Translate a line of a quote; an unknown line stays as it is. */
export function lineIn(line) {
  const [, amount, model] = /^(\S+) per (?:picture|(.+) video)$/.exec(line) || [];
  if (amount) return model ? t("{amount} per {model} video", { amount, model }) : t("{amount} per picture", { amount });
  const [, times, field, value, gap] = /^x (\S+) for (\w+) (\S+)( \(not in the list\))?$/.exec(line) || [];
  if (!times) return line;
  const factor = t("× {times} for {what}", { times, what: `${t(FIELDS[field] || field)} ${value}` });
  return gap ? `${factor} (${t("not in the price list")})` : factor;
}

export function Price({ kind, order }) {
  const question = useSettled(JSON.stringify([kind, questionOf(kind, order)]), 200);
  const { value: quote, error } = useLoaded(
    (signal) => {
      const [kindAsked, body] = JSON.parse(question);
      return post("/v1/quotes", { operation: operationOf(kindAsked), ...body }, { signal });
    },
    [question],
  );
  return html`
    <div class="price" aria-live="polite">
      <span class="hint">${t("Price")}</span>
      ${
        quote && !error
          ? html`
          <strong class="num">${money(quote.amount)} <small>${currency(quote.currency, quote.amount)}</small></strong>
          <span class="hint lines">
            ${quote.lines.map(lineIn).join(" ")}
            ${!quote.listed && ` · ${t("not in the price list")}`}
          </span>
        `
          : html`<strong>–</strong>`
      }
    </div>
  `;
}

export const SameByCurl = ({ kind, order, pictures }) => html`
  <${Card} title=${t("curl command")} kind="flat">
    <${Code}
      label="curl" text=${curlOf(kind, order, pictures)} shown=${curlOf(kind, order, pictures, { isSecret: true })}
    />
  <//>
`;
