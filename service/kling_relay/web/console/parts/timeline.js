// A task's timeline: the order, the provider's messages, the steps, and the deliveries with their attempts.
import { html, useState } from "../lib/html.js";
import { clock, moment, pretty, span } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Deliveries } from "./deliveries.js";
import { Code } from "./ui.js";

const SOURCES = {
  __proto__: null,
  callback: "Callback from the provider",
  query: "Poll of the provider",
  submit: "Answer to the order",
  clock: "Timeout",
};
const OUTCOMES = {
  __proto__: null,
  moved: "changed the task",
  stale: "no change, only recorded",
  unreadable: "unreadable, the provider is polled instead",
  unconfirmed: "unconfirmed, the provider is polled to confirm",
  unsigned: "invalid signature, ignored",
  incomplete: "success without a file, the provider is asked for it",
};
const STEPS = {
  __proto__: null,
  "task.submitted": "Submitted to the provider",
  "task.processing": "Processing",
  "task.succeed": "Done",
  "task.failed": "Failed",
};

/** All entries, oldest first; at the same moment, a callback comes before the step it caused and after any other. */
export function entriesOf(task, events, callbacks, deliveries) {
  const entries = [
    { at: task.created_at, what: "order", rank: 0 },
    ...callbacks.map((callback) => ({
      at: moment(callback.received_at),
      what: "callback",
      rank: ["moved", "incomplete"].includes(callback.outcome) ? 1 : 3,
      callback,
    })),
    ...events.map((event) => ({
      at: moment(event.timestamp),
      what: "event",
      rank: 2,
      event,
      sent: deliveries.filter((delivery) => delivery.event === event.id),
    })),
  ];
  return entries.sort((first, second) => first.at - second.at || first.rank - second.rank);
}

function Callback({ callback }) {
  const body = callback.text ?? callback.base64 ?? "";
  return html`
    <p>
      ${t(SOURCES[callback.source] || callback.source)}
      <span class="hint"> · ${t(OUTCOMES[callback.outcome] || callback.outcome)}</span>
    </p>
    ${
      body &&
      html`
        <details class="raw">
          <summary>
            ${callback.text === null ? t("Raw body (Base64)") : t("Raw body")}${" "}
            <span class="hint num">${t("{count} characters", { count: body.length })}</span>
          </summary>
          <${Code} text=${body} shown=${pretty(body)} label=${t("Raw body")} />
        </details>
      `
    }
  `;
}

function Step({ event, sent, onChange }) {
  const reason = event.data.task_status_msg;
  return html`
    <p>
      <strong>${t(STEPS[event.type] || event.type)}</strong>
      ${reason && html`<span class="hint"> · ${reason}</span>`}
      <span class="tag"><code>${event.type}</code></span>
    </p>
    <${Deliveries} deliveries=${sent} onChange=${onChange} isShort />
    <details class="raw">
      <summary>${t("Event as delivered")}</summary>
      <${Code}
        text=${JSON.stringify({ type: event.type, timestamp: event.timestamp, data: event.data })}
        shown=${pretty({ type: event.type, timestamp: event.timestamp, data: event.data })} label=${t("Event")}
      />
    </details>
  `;
}

const MARKS = { __proto__: null, "task.succeed": "good", "task.failed": "bad" };

export function Timeline({ task, events, callbacks, deliveries, onChange }) {
  const [isNewestFirst, setIsNewestFirst] = useState(false);
  const entries = entriesOf(task, events, callbacks, deliveries);
  const shownEntries = isNewestFirst ? entries.toReversed() : entries;
  return html`
    <div class="life">
      <div class="line">
        <span class="hint">${t("{count} entries", { count: entries.length })}</span>
        <span class="push"></span>
        <button type="button" class="button quiet small" onClick=${() => setIsNewestFirst(!isNewestFirst)}>
          ${isNewestFirst ? t("Show oldest first") : t("Show newest first")}
        </button>
      </div>
      <ol class="timeline">
        ${shownEntries.map(
          (entry) => html`
            <li class=${entry.what === "event" ? MARKS[entry.event.type] || "step" : entry.what}>
              <time class="num" title=${new Date(entry.at).toISOString()}>
                ${clock(entry.at, { fine: true })}
                <small>${entry.what === "order" ? "" : `+${span(Math.max(0, entry.at - task.created_at))}`}</small>
              </time>
              <div class="entry">
                ${
                  entry.what === "order" &&
                  html`
                    <p>
                      <strong>${t("Task created")}</strong>
                      <span class="hint"> · ${t("recorded before it is sent to the provider")}</span>
                    </p>
                  `
                }
                ${entry.what === "callback" && html`<${Callback} callback=${entry.callback} />`}
                ${
                  entry.what === "event" &&
                  html`<${Step} event=${entry.event} sent=${entry.sent} onChange=${onChange} />`
                }
              </div>
            </li>
          `,
        )}
        ${
          !task.is_final &&
          html`
            <li class="next">
              <time></time>
              <div class="entry">
                <p class="hint"><span class="spin"></span> ${t("Waiting for the next update.")}</p>
              </div>
            </li>
          `
        }
      </ol>
    </div>
  `;
}
