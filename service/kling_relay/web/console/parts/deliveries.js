// Deliveries, and when one is opened its attempts: what was asked, what was answered, and a way to try again.
import { html, useEffect, useState } from "../lib/html.js";
import { get, post } from "../lib/api.js";
import { clock, pretty, span, stamp } from "../lib/format.js";
import { useAct, useLoaded } from "../lib/hooks.js";
import { link } from "../lib/route.js";
import { t } from "../lib/words.js";
import { toast } from "./dialog.js";
import { Icon } from "./icons.js";
import { Ago, Due, Bones, Button, Code, Failure, Status } from "./ui.js";

const OUTCOMES = { delivered: "delivered", failed: "failed, tried again later", exhausted: "failed for the last time", gone: "said 410: the subscription is disabled" };

/** What a subscriber answered, in a word: its status, or why there was none. */
export const answered = (status, error) => (status ? String(status) : error || "–");

function Attempt({ attempt }) {
  const isGood = attempt.outcome === "delivered";
  return html`<li class=${isGood ? "good" : "bad"}>
    <div class="line"><strong class="num">${answered(attempt.status, attempt.error)}</strong><span class="hint">${t(OUTCOMES[attempt.outcome] || attempt.outcome)}</span><span class="push"></span>
      <span class="hint num">${span(attempt.latency_ms)} · <time title=${stamp(attempt.at)}>${clock(attempt.at)}</time></span></div>
    ${attempt.status && attempt.error && html`<p class="hint">${attempt.error}</p>`}
    ${attempt.answer ? html`<${Code} text=${attempt.answer} shown=${pretty(attempt.answer)} label=${t("Answer")} />` : attempt.status && html`<p class="hint">${t("The answer had no body.")}</p>`}
  </li>`;
}

export function DeliveryDetail({ id, onChange }) {
  const { value, error, reload } = useLoaded((signal) => get(`/v1/deliveries/${id}`, {}, { signal }), [id]);
  const retry = useAct(async () => {
    await post(`/v1/deliveries/${id}/retry`);
    toast(t("It is tried again now."));
    setTimeout(() => { reload(); onChange?.(); }, 900);
  });
  if (error) return html`<${Failure} error=${error} onAgain=${reload} />`;
  if (!value) return html`<${Bones} lines=${3} />`;
  return html`<div class="delivery">
    <div class="line"><code class="id">POST ${value.url}</code><span class="push"></span>
      <${Button} kind="small" icon="again" onClick=${retry.run} isBusy=${retry.isBusy}>${value.status === "delivered" ? t("Send again") : t("Try now")}<//></div>
    <${Failure} error=${retry.error} />
    ${value.next_attempt_at && html`<p class="hint">${t("Next attempt")} <${Due} at=${value.next_attempt_at} /></p>`}
    <ol class="attempts" aria-label=${t("Attempts")}>${value.attempts.map((attempt) => html`<${Attempt} attempt=${attempt} />`)}
      ${value.attempts.length === 0 && html`<li class="hint">${t("Not tried yet.")}</li>`}</ol>
    ${value.body && html`<details class="raw"><summary>${t("The request's body")}</summary>
      <p class="hint"><code>webhook-id: ${value.event}</code></p>
      <${Code} text=${value.body} shown=${pretty(value.body)} label=${t("The request's body")} /></details>`}
  </div>`;
}

const addressees = new Map();

/** Where a subscription leads, asked once each. */
function Addressee({ id }) {
  const [url, see] = useState(addressees.get(id));
  useEffect(() => {
    if (addressees.has(id)) return;
    get(`/v1/subscriptions/${id}`).then((found) => { addressees.set(id, found.url); see(found.url); }, () => {});
  }, [id]);
  return html`${url ? url.replace(/^https?:\/\//, "") : html`<code>${id.slice(-8)}</code>`}`;
}

function Delivery({ delivery, onChange, isShort }) {
  const [isOpen, open] = useState(false);
  return html`<li><button type="button" class="delivery-line" aria-expanded=${isOpen} onClick=${() => open(!isOpen)}>
      <${Icon} name="next" /><${Status} of=${delivery.status} />
      <span class="to">${isShort ? html`<${Addressee} id=${delivery.subscription} />` : html`<code>${delivery.type || "–"}</code>`}</span>
      <span class="hint num">${answered(delivery.last_status, delivery.last_error)} · ${delivery.attempt_count === 1 ? t("1 attempt") : t("{count} attempts", { count: delivery.attempt_count })}</span>
      <span class="push"></span>
      <span class="hint">${delivery.status === "pending" && delivery.next_attempt_at ? html`${t("next")} <${Due} at=${delivery.next_attempt_at} />` : html`<${Ago} at=${delivery.last_attempt_at} />`}</span></button>
    ${isOpen && html`<div class="inside">
      <p class="line links">${isShort ? html`<a href=${link(`subscriptions/${delivery.subscription}`)}>${t("The subscription")}</a>`
        : delivery.task_id && html`<a href=${link(`tasks/${delivery.task_id}`)}>${t("The task")}</a>`}</p>
      <${DeliveryDetail} id=${delivery.id} onChange=${onChange} /></div>`}
  </li>`;
}

export const Deliveries = ({ of, onChange, isShort = false }) => (of.length === 0 ? null : html`
  <ul class="deliveries">${of.map((delivery) => html`<${Delivery} key=${delivery.id} delivery=${delivery} onChange=${onChange} isShort=${isShort} />`)}</ul>`);
