// A task's life in one line of time: the order, what the provider said, the steps, and the deliveries with attempts.
import { html, useState } from "../lib/html.js";
import { clock, moment, pretty, span } from "../lib/format.js";
import { t } from "../lib/words.js";
import { Deliveries } from "./deliveries.js";
import { Icon } from "./icons.js";
import { Code } from "./ui.js";

const SOURCES = { callback: "The provider called back", query: "We asked the provider", submit: "The provider answered the order", clock: "The clock" };
const OUTCOMES = {
  moved: "it moved the task", stale: "nothing new: recorded, and nothing changed", unreadable: "unreadable: recorded, and the provider will be asked",
  unconfirmed: "unlikely: recorded, and the provider will be asked", unsigned: "without a good signature: recorded, not believed",
};
const STEPS = {
  "task.submitted": "The provider took the order", "task.processing": "The provider works on it", "task.succeed": "Done", "task.failed": "Failed",
};

/** Everything that happened, oldest first; at the same moment a callback comes before the step it made, else after it. */
export function happenings(task, events, callbacks, deliveries) {
  const all = [
    { at: task.created_at, what: "order", rank: 0 },
    ...callbacks.map((callback) => ({ at: moment(callback.received_at), what: "callback", rank: callback.outcome === "moved" ? 1 : 3, callback })),
    ...events.map((event) => ({ at: moment(event.timestamp), what: "event", rank: 2, event, sent: deliveries.filter((each) => each.event === event.id) })),
  ];
  return all.sort((one, other) => one.at - other.at || one.rank - other.rank);
}

function Callback({ callback }) {
  const body = callback.text ?? callback.base64 ?? "";
  return html`<p>${t(SOURCES[callback.source] || callback.source)}<span class="hint"> · ${t(OUTCOMES[callback.outcome] || callback.outcome)}</span></p>
    ${body && html`<details class="raw"><summary>${callback.text === null ? t("Raw body, in Base64") : t("Raw body")} <span class="hint num">${t("{count} characters", { count: body.length })}</span></summary>
      <${Code} text=${body} shown=${pretty(body)} label=${t("Raw body")} /></details>`}`;
}

function Step({ event, sent, onChange }) {
  const reason = event.data.task_status_msg;
  return html`<p><strong>${t(STEPS[event.type] || event.type)}</strong>${reason && html`<span class="hint"> · ${reason}</span>`}
      <span class="tag"><code>${event.type}</code></span></p>
    <${Deliveries} of=${sent} onChange=${onChange} isShort />
    <details class="raw"><summary>${t("The event, as it is delivered")}</summary>
      <${Code} text=${JSON.stringify({ type: event.type, timestamp: event.timestamp, data: event.data })}
        shown=${pretty({ type: event.type, timestamp: event.timestamp, data: event.data })} label=${t("Event")} /></details>`;
}

const MARKS = { "task.succeed": "good", "task.failed": "bad" };

export function Timeline({ task, events, callbacks, deliveries, onChange }) {
  const [isBackwards, turn] = useState(false);
  const all = happenings(task, events, callbacks, deliveries);
  const shown = isBackwards ? [...all].reverse() : all;
  return html`<div class="life">
    <div class="line"><span class="hint">${t("{count} entries", { count: all.length })}</span><span class="push"></span>
      <button type="button" class="button quiet small" onClick=${() => turn(!isBackwards)}>${isBackwards ? t("Show oldest first") : t("Show newest first")}</button></div>
    <ol class="timeline">${shown.map((each) => html`<li class=${each.what === "event" ? MARKS[each.event.type] || "step" : each.what}>
      <time class="num" title=${new Date(each.at).toISOString()}>${clock(each.at, { fine: true })}<small>${each.what === "order" ? "" : `+${span(Math.max(0, each.at - task.created_at))}`}</small></time>
      <div class="entry">
        ${each.what === "order" && html`<p><strong>${t("Ordered")}</strong><span class="hint"> · ${t("recorded before the provider heard of it")}</span></p>`}
        ${each.what === "callback" && html`<${Callback} callback=${each.callback} />`}
        ${each.what === "event" && html`<${Step} event=${each.event} sent=${each.sent} onChange=${onChange} />`}
      </div></li>`)}
      ${!task.is_final && html`<li class="next"><time></time><div class="entry"><p class="hint"><span class="spin"></span> ${t("The next step is shown as soon as it comes.")}</p></div></li>`}
    </ol></div>`;
}
