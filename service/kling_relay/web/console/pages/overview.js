// Overview: volume, latency, backlog and failures of the last hour or day.
import { html, useEffect } from "../lib/html.js";
import { get } from "../lib/api.js";
import { ago, brevity, brief, number, share, span } from "../lib/format.js";
import { useLoaded, useThrottled } from "../lib/hooks.js";
import { go, link } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/i18n.js";
import { Chart } from "../parts/chart.js";
import { Ranking } from "../parts/ranking.js";
import { Bones, Card, Empty, Failure, Head, Notice, Tabs } from "../parts/ui.js";
import { Usage } from "../parts/usage.js";

const EVERY = 20_000;
const TASKS = [
  { name: "succeeded", title: "Succeeded", tone: "good" },
  { name: "failed", title: "Failed", tone: "bad" },
  { name: "others", title: "In progress", tone: "calm" },
];
const TOOK = [
  { name: "duration_p50_ms", title: "p50", tone: "accent", area: true },
  { name: "duration_p95_ms", title: "p95", tone: "soft" },
];
const ATTEMPTS = [
  { name: "delivered", title: "Delivered", tone: "good" },
  { name: "missed", title: "Failed attempts", tone: "bad" },
];
const LATENCY = [
  { name: "latency_p50_ms", title: "p50", tone: "accent", area: true },
  { name: "latency_p95_ms", title: "p95", tone: "soft" },
];
const OPEN = [{ name: "open", title: "Tasks in progress", tone: "accent", area: true }];
const PENDING = [{ name: "pending", title: "Pending deliveries", tone: "wait", area: true }];
const HINTS = {
  __proto__: null,
  timeout: "no answer in time",
  refused: "connection refused",
  dns: "unknown host name",
  tls: "invalid certificate",
  reset: "connection reset",
  blocked: "address not allowed",
  unreachable: "host unreachable",
  protocol: "not an HTTP response",
};

const Figure = ({ title, value, hint, href, tone = "" }) => html`
  <div class=${`figure ${tone}`}>
    <dt>${title}</dt>
    <dd class="num">${href ? html`<a href=${href}>${value}</a>` : value}</dd>
    ${hint && html`<dd class="hint">${hint}</dd>`}
  </div>
`;

function Figures({ overview }) {
  const { tasks, deliveries, slots, stalest_task: silent } = overview;
  const finalCount = tasks.succeeded + tasks.failed;
  return html`
    <dl class="figures card">
      <${Figure}
        title=${t("Tasks created")} value=${`${tasks.is_estimate ? "≈ " : ""}${number(tasks.ordered)}`}
        hint=${t("{count} in progress", { count: number(tasks.open) })} href=${link("tasks", { since: overview.span })}
      />
      <${Figure}
        title=${t("Succeeded")} value=${finalCount ? share(tasks.succeeded / finalCount) : "–"}
        hint=${tasks.failed ? t("{count} failed", { count: number(tasks.failed) }) : t("no failures")}
        tone=${finalCount && tasks.succeeded / finalCount < 0.9 ? "bad" : ""}
        href=${tasks.failed ? link("tasks", { status: "failed", since: overview.span }) : undefined}
      />
      <${Figure}
        title=${t("Time to result")} value=${span(tasks.duration_p50_ms)}
        hint=${t("p95 {span}", { span: span(tasks.duration_p95_ms) })}
      />
      <${Figure}
        title=${t("Delivered")} value=${deliveries.attempts ? share(deliveries.delivered / deliveries.attempts) : "–"}
        hint=${t("p50 {span}", { span: span(deliveries.latency_p50_ms) })}
        tone=${deliveries.attempts && deliveries.delivered / deliveries.attempts < 0.9 ? "bad" : ""}
      />
      <${Figure}
        title=${t("Pending")} value=${number(deliveries.pending)}
        hint=${
          deliveries.exhausted
            ? t("{count} given up", { count: number(deliveries.exhausted) })
            : deliveries.next_attempt_at
              ? t("next {when}", {
                  when:
                    Date.parse(deliveries.next_attempt_at) <= Date.now() ? t("now") : ago(deliveries.next_attempt_at),
                })
              : deliveries.pending
                ? t("held")
                : t("all delivered")
        }
        href="#/subscriptions"
      />
      <${Figure}
        title=${t("Provider slots")}
        value=${slots.limit === null ? number(slots.in_use) : `${number(slots.in_use)} / ${number(slots.limit)}`}
        hint=${slots.limit === null ? t("in use, no limit") : t("your tasks / total")}
      />
      <${Figure}
        title=${t("Longest silence")} value=${silent ? span(Date.now() - Date.parse(silent.last_update_at)) : "–"}
        hint=${silent ? html`<code>${brief(silent.task_id)}</code>` : t("no task waiting")}
        href=${silent ? link(`tasks/${silent.task_id}`) : undefined}
      />
    </dl>
  `;
}

function Charts({ overview }) {
  const bins = overview.bins.map((bin) => ({
    ...bin,
    others: Math.max(0, bin.ordered - bin.succeeded - bin.failed),
    missed: bin.attempts - bin.delivered,
  }));
  const count = (value) => number(value === null || value === undefined ? 0 : Math.round(value * 10) / 10);
  const shared = { bins, seconds: overview.bin_seconds };
  const interval = overview.span === "hour" ? t("minute") : t("30 minutes");
  return html`
    <div class="charts">
      <h2 class="unseen">${t("Charts")}</h2>
      <${Chart}
        ...${shared} title=${t("Tasks created per {interval}", { interval })} series=${TASKS} write=${count} isBars
      />
      <${Chart} ...${shared} title=${t("Time to result")} series=${TOOK} write=${span} axis=${brevity} isTime />
      <${Chart}
        ...${shared} title=${t("Delivery attempts per {interval}", { interval })} series=${ATTEMPTS} write=${count}
        isBars
      />
      <${Chart} ...${shared} title=${t("Delivery latency")} series=${LATENCY} write=${span} axis=${brevity} isTime />
      <${Chart} ...${shared} title=${t("Tasks in progress")} series=${OPEN} write=${count} />
      <${Chart} ...${shared} title=${t("Pending deliveries")} series=${PENDING} write=${count} />
    </div>
  `;
}

export function OverviewPage({ query }) {
  const { key } = useSettings();
  const period = query.get("span") === "day" ? "day" : "hour";
  const { value, error, reload } = useLoaded(
    (signal) => get("/v1/overview", { span: period }, { signal }),
    [period, key],
  );
  const soon = useThrottled(reload, 4000);
  useEvents(() => soon(), []);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || reload(), EVERY);
    return () => clearInterval(timer);
  }, [reload]);
  const isEmpty = value && !value.tasks.ordered && !value.deliveries.attempts && !value.tasks.open;
  return html`
    <${Head} title=${t("Overview")} about=${t("Your tasks and deliveries at a glance.")}>
      <${Tabs}
        kind="two" label=${t("Time")} value=${period}
        onChange=${(next) => go("overview", { span: next }, { isSame: true })}
        options=${[
          { value: "hour", title: t("Hour") },
          { value: "day", title: t("Day") },
        ]}
      />
    <//>
    <${Failure} error=${error} onAgain=${reload} />
    ${!value && !error && html`<${Card} flush><${Bones} lines=${8} /><//>`}
    ${
      isEmpty &&
      html`
        <${Card} flush>
          <${Empty}
            icon="overview" title=${t("No activity in this period")}
            acts=${html`<a class="button main" href="#/try">${t("Create a task")}</a>`}
          >
            <p>${t("Rates, latencies and deliveries appear here once there are tasks.")}</p>
          <//>
        <//>
      `
    }
    ${
      value &&
      !isEmpty &&
      html`
        <div class="stack">
          <${Figures} overview=${value} />
          ${
            value.tasks.is_estimate &&
            html`
              <${Notice}><p>${t("Numbers with ≈ are estimates from a sample.")}</p><//>
            `
          }
          ${
            value.deliveries.is_partial &&
            html`
              <${Notice}>
                <p>
                  ${t("Charts show only the latest 1,000 attempts of each subscription.")}
                </p>
              <//>
            `
          }
          <${Charts} overview=${value} />
          <div class="halves">
            <${Ranking}
              title=${t("Task failures by cause")} empty=${t("No task failed in this period.")}
              rows=${value.reasons.map(({ reason, count }) => ({ title: reason || t("no reason given"), count }))}
              hrefOf=${() => link("tasks", { status: "failed", since: period })}
            />
            <${Ranking}
              title=${t("Delivery failures by cause")} empty=${t("All attempts succeeded.")}
              rows=${value.errors.map(({ code, count }) => ({
                title: html`<code>${code}</code>`,
                hint: HINTS[code] && t(HINTS[code]),
                count,
              }))}
            />
          </div>
        </div>
      `
    }
    ${value && html`<${Usage} key=${key} />`}
  `;
}
