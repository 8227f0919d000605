// Overview: how much, how fast, what is pending and what goes wrong, over the last hour or day.
import { html, useEffect } from "../lib/html.js";
import { get } from "../lib/api.js";
import { ago, brevity, brief, number, share, span } from "../lib/format.js";
import { useLoaded, useThrottled } from "../lib/hooks.js";
import { go, link } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/words.js";
import { Chart } from "../parts/chart.js";
import { Ranking } from "../parts/ranking.js";
import { Bones, Card, Empty, Failure, Head, Notice, Tabs } from "../parts/ui.js";
import { Usage } from "../parts/usage.js";

const EVERY = 20_000;
const TASKS = [{ name: "succeeded", title: "Succeeded", tone: "good" }, { name: "failed", title: "Failed", tone: "bad" }, { name: "others", title: "Not final", tone: "calm" }];
const TOOK = [{ name: "duration_p50_ms", title: "Half within", tone: "accent", area: true }, { name: "duration_p95_ms", title: "95% within", tone: "soft" }];
const ATTEMPTS = [{ name: "delivered", title: "Delivered", tone: "good" }, { name: "missed", title: "Not delivered", tone: "bad" }];
const LATENCY = [{ name: "latency_p50_ms", title: "Half within", tone: "accent", area: true }, { name: "latency_p95_ms", title: "95% within", tone: "soft" }];
const OPEN = [{ name: "open", title: "Tasks in progress", tone: "accent", area: true }];
const PENDING = [{ name: "pending", title: "Pending deliveries", tone: "wait", area: true }];
const HINTS = {
  timeout: "no answer in time", refused: "nobody listens there", dns: "the name is unknown", tls: "the certificate is not good",
  reset: "the connection broke", blocked: "the address is not allowed", unreachable: "no way there", protocol: "no HTTP was spoken",
};

const Figure = ({ title, value, hint, href, tone = "" }) => html`<div class=${`figure ${tone}`}>
  <dt>${title}</dt><dd class="num">${href ? html`<a href=${href}>${value}</a>` : value}</dd>${hint && html`<span class="hint">${hint}</span>`}</div>`;

function Figures({ of }) {
  const { tasks, deliveries, slots, stalest_task: silent } = of;
  const ended = tasks.succeeded + tasks.failed;
  return html`<dl class="figures card">
    <${Figure} title=${t("Ordered")} value=${`${tasks.is_estimate ? "≈ " : ""}${number(tasks.ordered)}`} hint=${t("{count} in progress", { count: number(tasks.open) })} href=${link("tasks", { since: of.span })} />
    <${Figure} title=${t("Succeeded")} value=${ended ? share(tasks.succeeded / ended) : "–"} hint=${tasks.failed ? t("{count} failed", { count: number(tasks.failed) }) : t("none failed")}
      tone=${ended && tasks.succeeded / ended < 0.9 ? "bad" : ""} href=${tasks.failed ? link("tasks", { status: "failed", since: of.span }) : undefined} />
    <${Figure} title=${t("Time to result")} value=${span(tasks.duration_p50_ms)} hint=${t("95% within {span}", { span: span(tasks.duration_p95_ms) })} />
    <${Figure} title=${t("Delivered")} value=${deliveries.attempts ? share(deliveries.delivered / deliveries.attempts) : "–"} hint=${t("half within {span}", { span: span(deliveries.latency_p50_ms) })}
      tone=${deliveries.attempts && deliveries.delivered / deliveries.attempts < 0.9 ? "bad" : ""} />
    <${Figure} title=${t("Pending")} value=${number(deliveries.pending)} hint=${deliveries.exhausted ? t("{count} given up", { count: number(deliveries.exhausted) }) : deliveries.next_attempt_at ? t("next {when}", { when: Date.parse(deliveries.next_attempt_at) <= Date.now() ? t("now") : ago(deliveries.next_attempt_at) }) : t("all delivered")} href="#/subscriptions" />
    <${Figure} title=${t("Provider's slots")} value=${slots.limit === null ? number(slots.in_use) : `${number(slots.in_use)} / ${number(slots.limit)}`} hint=${slots.limit === null ? t("yours; no limit") : t("yours, of all")} />
    <${Figure} title=${t("Silent for longest")} value=${silent ? span(Date.now() - Date.parse(silent.last_update_at)) : "–"} hint=${silent ? html`<code>${brief(silent.task_id)}</code>` : t("nobody waits")} href=${silent ? link(`tasks/${silent.task_id}`) : undefined} />
  </dl>`;
}

function Charts({ of }) {
  const bins = of.bins.map((bin) => ({ ...bin, others: Math.max(0, bin.ordered - bin.succeeded - bin.failed), missed: bin.attempts - bin.delivered }));
  const count = (value) => number(value === null || value === undefined ? 0 : Math.round(value * 10) / 10);
  const shared = { bins, seconds: of.bin_seconds };
  const per = of.span === "hour" ? t("a minute") : t("half an hour");
  return html`<div class="charts">
    <${Chart} ...${shared} title=${t("Tasks ordered, {per}", { per })} series=${TASKS} write=${count} isBars />
    <${Chart} ...${shared} title=${t("From order to result")} series=${TOOK} write=${span} axis=${brevity} isTime />
    <${Chart} ...${shared} title=${t("Attempts to deliver, {per}", { per })} series=${ATTEMPTS} write=${count} isBars />
    <${Chart} ...${shared} title=${t("Subscribers answer in")} series=${LATENCY} write=${span} axis=${brevity} isTime />
    <${Chart} ...${shared} title=${t("In progress")} series=${OPEN} write=${count} />
    <${Chart} ...${shared} title=${t("Still to be delivered")} series=${PENDING} write=${count} />
  </div>`;
}

export function OverviewPage({ query }) {
  const { key } = useSettings();
  const chosen = query.get("span") === "day" ? "day" : "hour";
  const { value, error, reload } = useLoaded((signal) => get("/v1/overview", { span: chosen }, { signal }), [chosen, key]);
  const soon = useThrottled(reload, 4000);
  useEvents(() => soon(), []);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || reload(), EVERY);
    return () => clearInterval(timer);
  }, [reload]);
  const isEmpty = value && !value.tasks.ordered && !value.deliveries.attempts && !value.tasks.open;
  return html`
    <${Head} title=${t("Overview")} about=${t("Your own tasks and deliveries, as they go.")}>
      <${Tabs} kind="two" label=${t("Time")} value=${chosen} onChange=${(next) => go("overview", { span: next }, { isSame: true })}
        options=${[{ value: "hour", title: t("Hour") }, { value: "day", title: t("Day") }]} /><//>
    <${Failure} error=${error} onAgain=${reload} />
    ${!value && !error && html`<${Card} flush><${Bones} lines=${8} /><//>`}
    ${isEmpty && html`<${Card} flush><${Empty} icon="overview" title=${t("Nothing happened in this time")} acts=${html`<a class="button main" href="#/try">${t("Order something")}</a>`}>
      <p>${t("As soon as tasks are ordered, their rates, times and deliveries are drawn here.")}</p><//><//>`}
    ${value && !isEmpty && html`<div class="stack">
      <${Figures} of=${value} />
      ${value.tasks.is_estimate && html`<${Notice}><p>${t("There was more than is looked at: numbers with ≈ are reckoned from a part.")}</p><//>`}
      ${value.deliveries.is_partial && html`<${Notice}><p>${t("Of each subscription the newest thousand attempts are looked at; earlier ones of this time are not drawn.")}</p><//>`}
      <${Charts} of=${value} />
      <div class="halves">
        <${Ranking} title=${t("Why tasks failed")} empty=${t("No task failed in this time.")} rows=${value.reasons.map((each) => ({ title: each.reason || t("no reason given"), count: each.count }))} hrefOf=${() => link("tasks", { status: "failed", since: chosen })} />
        <${Ranking} title=${t("Why deliveries failed")} empty=${t("Every attempt was delivered.")} rows=${value.errors.map((each) => ({ title: html`<code>${each.code}</code>`, hint: HINTS[each.code] && t(HINTS[each.code]), count: each.count }))} />
      </div></div>`}
    ${value && html`<${Usage} key=${key} />`}`;
}
