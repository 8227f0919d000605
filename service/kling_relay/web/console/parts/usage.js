// Charges of the last thirty days: a chart by day, a ranking by order type, and the budgets.
import { html } from "../lib/html.js";
import { get } from "../lib/api.js";
import { currency, money, number, total } from "../lib/format.js";
import { useLoaded, useThrottled } from "../lib/hooks.js";
import { useEvents } from "../lib/stream.js";
import { locale, t } from "../lib/i18n.js";
import { Chart } from "./chart.js";
import { Ranking } from "./ranking.js";
import { Failure, KINDS } from "./ui.js";

const DAY = 86_400_000;
const DAYS = 30;
const TONES = ["accent", "good", "wait", "soft"];
const LIMITS = {
  __proto__: null,
  day: "today",
  month: "this month",
  total: "total",
  open: "reserved at the same time",
};

const taskCount = (count) => (count === 1 ? t("1 task") : t("{count} tasks", { count: number(count) }));

/** Return a bin per day (UTC, as in the ledger) with the charges of each kind. */
export function daily(lines, now) {
  return Array.from({ length: DAYS }, (_, index) => {
    const day = new Date(now - (DAYS - 1 - index) * DAY).toISOString().slice(0, 10);
    const ofDay = lines.filter((line) => line.by.day === day);
    const charged = Object.keys(KINDS).map((kind) => [
      kind,
      Number(total(ofDay.filter((line) => line.by.kind === kind).map((line) => line.charged))),
    ]);
    return { at: day, ...Object.fromEntries(charged) };
  });
}

/** Return the charges by kind, model and mode, the highest first. */
function orders(lines) {
  const groups = new Map();
  for (const line of lines) {
    const name = [line.by.model, line.by.mode].filter(Boolean).join(" · ");
    const key = JSON.stringify([line.by.kind, name]);
    const before = groups.get(key) || { kind: line.by.kind, name, tasks: 0, amounts: [] };
    groups.set(key, { ...before, tasks: before.tasks + line.tasks, amounts: [...before.amounts, line.charged] });
  }
  return [...groups.values()]
    .map((group) => ({ ...group, charged: total(group.amounts) }))
    .sort((first, second) => Number(second.charged) - Number(first.charged));
}

function OfCurrency({ lines, unit }) {
  const charged = total(lines.map((line) => line.charged));
  const reserved = total(lines.map((line) => line.reserved));
  const tasks = lines.reduce((sum, line) => sum + line.tasks, 0);
  const amount = (text) => `${money(text)} ${currency(unit, text)}`;
  const used = Object.keys(KINDS).filter((kind) => lines.some((line) => line.by.kind === kind));
  const dayFormat = new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short", timeZone: "UTC" });
  return html`
    <p class="hint usage-sum">
      <strong class="num">${amount(charged)}</strong> ${t("charged")} · ${taskCount(tasks)}
      ${Number(reserved) > 0 ? ` · ${t("{amount} reserved", { amount: amount(reserved) })}` : ""}
    </p>
    <div class="halves">
      <${Chart}
        title=${t("Charged per day")} bins=${daily(lines, Date.now())}
        series=${used.map((kind, index) => ({ name: kind, title: KINDS[kind], tone: TONES[index] }))}
        write=${(value) => money(String(+(value || 0).toFixed(6)))}
        name=${(bin) => dayFormat.format(Date.parse(bin.at))} isBars
      />
      <${Ranking}
        tone="accent" title=${t("Charged by order type")}
        rows=${orders(lines)
          .slice(0, 8)
          .map((group) => ({
            title: t(KINDS[group.kind] || "Others"),
            hint: `${group.name} · ${taskCount(group.tasks)}`,
            count: Math.max(0, Number(group.charged)),
            shown: money(group.charged),
          }))}
      />
    </div>
  `;
}

function Budgets({ budget }) {
  const rows = [
    ["client", t("all your keys")],
    ["key", t("this key")],
  ].flatMap(([whose, title]) =>
    Object.keys(LIMITS)
      .filter((name) => budget[whose]?.limits[name])
      .map((name) => {
        const share = Number(budget[whose].spent[name]) / Number(budget[whose].limits[name]);
        return {
          title: t(LIMITS[name]),
          hint: title,
          count: share,
          tone: share >= 0.8 ? "bad" : "accent",
          shown: `${money(budget[whose].spent[name])} / ${money(budget[whose].limits[name])}`,
        };
      }),
  );
  return rows.length > 0 && html`<${Ranking} title=${t("Budget")} max=${1} rows=${rows} />`;
}

export function Usage() {
  const { value, error, reload } = useLoaded(async (signal) => {
    const since = new Date(Math.floor(Date.now() / DAY) * DAY - (DAYS - 1) * DAY).toISOString();
    const [used, budget] = await Promise.all([
      get("/v1/usage", { since, by: "day,kind,model,mode" }, { signal }),
      get("/v1/budget", {}, { signal }),
    ]);
    return { used: used.data, budget };
  }, []);
  const soon = useThrottled(reload, 15_000);
  useEvents(() => soon(), []);
  if (!value) return html`<${Failure} error=${error} onAgain=${reload} />`;
  const units = [...new Set(value.used.map((line) => line.currency))];
  return html`
    <section class="stack usage" aria-label=${t("Usage")}>
      <h2>${t("Usage, the last {count} days", { count: DAYS })}</h2>
      ${units.length === 0 && html`<p class="hint">${t("No charges in this period.")}</p>`}
      ${units.map(
        (unit) =>
          html`<${OfCurrency} key=${unit} unit=${unit} lines=${value.used.filter((line) => line.currency === unit)} />`,
      )}
      <${Budgets} budget=${value.budget} />
    </section>
  `;
}
