// One task: its results, its order, its price, and its timeline from the order to the last delivery attempt.
import { html } from "../lib/html.js";
import { get } from "../lib/api.js";
import { currency, money, pretty, span, stamp } from "../lib/format.js";
import { HINTS, NAMES } from "../lib/fields.js";
import { useLoaded, useThrottled } from "../lib/hooks.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/i18n.js";
import { ResultMissing, Results, results } from "../parts/media.js";
import { useTask } from "../parts/progress.js";
import { Timeline } from "../parts/timeline.js";
import { Ago, Bones, Card, Code, Copy, Failure, Head, KINDS as TITLES, Notice, Status } from "../parts/ui.js";

const STATES = {
  __proto__: null,
  recorded: "Queued",
  sending: "Being sent to the provider",
  accepted: "Accepted by the provider",
  unknown: "Unknown: the provider's answer was lost. Being reconciled, not sent twice.",
};
const MONEY = {
  __proto__: null,
  reserved: "reserved until the task ends",
  unknown: "reserved until the order's outcome is known",
  settled: "charged",
  released: "released, failed tasks are free",
};

/** Load everything that the API knows about a task. */
async function load(id, signal) {
  const path = `/v1/tasks/${id}`;
  const [task, events, callbacks, deliveries] = await Promise.all([
    get(path, {}, { signal }),
    get(`${path}/events`, {}, { signal }),
    get(`${path}/callbacks`, {}, { signal }),
    get("/v1/deliveries", { task: id, limit: 200 }, { signal }),
  ]);
  return { task, events: events.data, callbacks: callbacks.data, deliveries: deliveries.data };
}

function Expiry({ at }) {
  const days = (at - Date.now()) / 86400e3;
  return html`
    <${Notice} kind=${days < 3 ? "wait" : "calm"} icon="clock">
      <p>
        ${
          days > 0
            ? t("The provider deletes these files on {time}. Download what you want to keep.", { time: stamp(at) })
            : t("The provider kept these files until {time}.", { time: stamp(at) })
        }
      </p>
    <//>
  `;
}

function Facts({ task }) {
  const { charge, submission } = task;
  const amount = charge.state === "settled" ? charge.charged : charge.quote;
  const isFinal = task.task_status === "succeed" || task.task_status === "failed";
  const rows = [
    ["Type", t(TITLES[task.kind])],
    [
      "Model",
      html`
      <code>${task.model}</code>
      ${[task.mode, task.duration && t("{seconds} s", { seconds: task.duration })]
        .filter(Boolean)
        .map((part) => ` · ${part}`)}
    `,
    ],
    ["Created", html`<${Ago} at=${task.created_at} />`],
    [
      isFinal ? "Elapsed" : "Last update",
      isFinal ? span(task.updated_at - task.created_at) : html`<${Ago} at=${task.updated_at} />`,
    ],
    [
      "Price",
      html`
        <strong class="num">${money(amount)}</strong> ${currency(charge.currency, amount)}
        <div class="hint">
          ${t(MONEY[charge.state])}
          ${
            charge.state === "settled" && money(charge.charged) !== money(charge.quote)
              ? ` · ${t("quoted {amount}", { amount: money(charge.quote) })}`
              : ""
          } · ${charge.prices}
        </div>
      `,
    ],
    [
      "Task ID",
      html`
      <span class="line one">
        <code class="id">${task.task_id}</code>
        <${Copy} text=${task.task_id} label=${t("Copy task ID")} />
      </span>
    `,
    ],
    task.external_task_id && ["Your ID", html`<code>${task.external_task_id}</code>`],
    submission && [
      "Provider",
      html`
      ${t(STATES[submission.state])}
      ${submission.reason ? html`<div class="hint">${submission.reason}</div>` : ""}
      ${
        submission.next_check_at &&
        html`<div class="hint">${t("Next check")} <${Ago} at=${submission.next_check_at} /></div>`
      }
    `,
    ],
    submission?.provider_task_id && ["Provider's ID", html`<code>${submission.provider_task_id}</code>`],
    task.trace && ["Trace ID", html`<code>${task.trace}</code>`],
  ];
  return html`
    <dl class="facts">${rows.filter(Boolean).map(([name, value]) => html`<dt>${t(name)}</dt><dd>${value}</dd>`)}</dl>
  `;
}

const Order = ({ fields }) => html`
  <dl class="facts">
    ${Object.entries(fields).map(
      ([name, value]) => html`
        <dt title=${HINTS[name] ? t(HINTS[name]) : name}>${t(NAMES[name] || name)}</dt>
        <dd>${typeof value === "object" ? html`<code>${pretty(value).replace(/\s+/g, " ")}</code>` : String(value)}</dd>
      `,
    )}
  </dl>
`;

export function TaskPage({ id }) {
  const { value, error, reload } = useLoaded((signal) => load(id, signal), [id]);
  const live = useTask(value?.task);
  const reloadSoon = useThrottled(reload, 700);
  useEvents(
    ({ data }) => {
      if (data.task_id === id) reloadSoon();
    },
    [id],
  );
  const back = { href: "#/tasks", title: t("Tasks") };
  if (!value)
    return html`
    <${Head} title=${t("Task")} back=${back} />
    ${
      error
        ? html`<${Failure} error=${error} onAgain=${reload} />`
        : html`<div class="card"><${Bones} lines=${9} /></div>`
    }
  `;
  const task = { ...value.task, ...live };
  const prompt = task.fields.prompt;
  return html`
    <${Head}
      title=${prompt ? (prompt.length > 90 ? `${prompt.slice(0, 88)}…` : prompt) : t(TITLES[task.kind])} back=${back}
    >
      <${Status} status=${task.task_status} moving=${!task.is_final} />
    <//>
    <div class="split task-page">
      <div class="stack">
        ${
          results(task).length > 0 &&
          html`
            <${Card} title=${t("Result")} flush>
              <${Results} task=${task} />
              <div class="body">${task.expires_at && html`<${Expiry} at=${task.expires_at} />`}</div>
            <//>
          `
        }
        ${task.result_missing && html`<${ResultMissing} />`}
        ${
          task.task_status === "failed" &&
          html`
            <${Notice} kind="bad">
              <p><strong>${task.task_status_msg || t("The task failed.")}</strong></p>
              <p>${t("Failed tasks are free.")}</p>
            <//>
          `
        }
        <${Card} title=${t("Timeline")}>
          <${Timeline}
            task=${task} events=${value.events} callbacks=${value.callbacks} deliveries=${value.deliveries}
            onChange=${reload}
          />
        <//>
      </div>
      <div class="aside stack">
        <${Card} title=${t("Details")}><${Facts} task=${task} /><//>
        <${Card} title=${t("Order")}>
          <${Order} fields=${task.fields} />
          ${
            task.unknown_fields?.length > 0 &&
            html`
              <${Notice} kind="wait">
                <p>${t("Unknown fields, passed on unread: {names}", { names: task.unknown_fields.join(", ") })}</p>
              <//>
            `
          }
          <details class="more">
            <summary>JSON</summary>
            <${Code} text=${pretty(task.fields)} label=${t("Order")} />
          </details>
        <//>
      </div>
    </div>
  `;
}
