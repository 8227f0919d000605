// Deliveries and their attempts: the request, the response, and a button to retry.
import { html, useEffect, useState } from "../lib/html.js";
import { get, post } from "../lib/api.js";
import { clock, pretty, span, stamp } from "../lib/format.js";
import { useAction, useLoaded } from "../lib/hooks.js";
import { link } from "../lib/route.js";
import { t } from "../lib/i18n.js";
import { toast } from "./dialog.js";
import { Icon } from "./icons.js";
import { Ago, Due, Bones, Button, Code, Failure, Status } from "./ui.js";

const OUTCOMES = {
  __proto__: null,
  delivered: "delivered",
  failed: "failed, will be retried",
  exhausted: "failed, given up",
  gone: "answered 410, subscription disabled",
};

const HELD = {
  paused: "Held: the subscription is paused.",
  disabled: "Held: the subscription is disabled.",
};

/** The status that a subscriber answered, or the error if there was no answer. */
export const answerOf = (status, error) => (status ? String(status) : error || "–");

function Attempt({ attempt }) {
  const isGood = attempt.outcome === "delivered";
  return html`
    <li class=${isGood ? "good" : "bad"}>
      <div class="line">
        <strong class="num">${answerOf(attempt.status, attempt.error)}</strong>
        <span class="hint">${t(OUTCOMES[attempt.outcome] || attempt.outcome)}</span>
        <span class="push"></span>
        <span class="hint num">
          ${span(attempt.latency_ms)} · <time title=${stamp(attempt.at)}>${clock(attempt.at)}</time>
        </span>
      </div>
      ${attempt.status && attempt.error && html`<p class="hint">${attempt.error}</p>`}
      ${
        attempt.answer
          ? html`<${Code} text=${attempt.answer} shown=${pretty(attempt.answer)} label=${t("Answer")} />`
          : attempt.status && html`<p class="hint">${t("The response had no body.")}</p>`
      }
    </li>
  `;
}

/** When the next attempt is made, or why the delivery is held. */
function NextAttempt({ delivery }) {
  if (delivery.held in HELD) return html`<p class="hint">${t(HELD[delivery.held])}</p>`;
  if (!delivery.next_attempt_at) return null;
  const title = delivery.held === "probe" ? t("Held until the subscription is probed:") : t("Next attempt");
  return html`<p class="hint">${title} <${Due} at=${delivery.next_attempt_at} /></p>`;
}

export function DeliveryDetail({ id, onChange }) {
  const { value, error, reload } = useLoaded((signal) => get(`/v1/deliveries/${id}`, {}, { signal }), [id]);
  const retry = useAction(async () => {
    await post(`/v1/deliveries/${id}/retry`);
    toast(t("Retrying now."));
    setTimeout(() => {
      reload();
      onChange?.();
    }, 900);
  });
  if (error) return html`<${Failure} error=${error} onAgain=${reload} />`;
  if (!value) return html`<${Bones} lines=${3} />`;
  return html`
    <div class="delivery">
      <div class="line">
        <code class="id">POST ${value.url}</code>
        <span class="push"></span>
        <${Button} kind="small" icon="again" onClick=${retry.run} isBusy=${retry.isBusy}>
          ${value.status === "delivered" ? t("Send again") : t("Retry now")}
        <//>
      </div>
      <${Failure} error=${retry.error} />
      <${NextAttempt} delivery=${value} />
      <ol class="attempts" aria-label=${t("Attempts")}>
        ${value.attempts.map((attempt) => html`<${Attempt} attempt=${attempt} />`)}
        ${value.attempts.length === 0 && html`<li class="hint">${t("No attempts yet.")}</li>`}
      </ol>
      ${
        value.body &&
        html`
          <details class="raw">
            <summary>${t("Request body")}</summary>
            <p class="hint"><code>webhook-id: ${value.event}</code></p>
            <${Code} text=${value.body} shown=${pretty(value.body)} label=${t("Request body")} />
          </details>
        `
      }
    </div>
  `;
}

const urls = new Map();

/** The URL of a subscription, loaded once. */
function SubscriptionUrl({ id }) {
  const [url, setUrl] = useState(urls.get(id));
  useEffect(() => {
    if (urls.has(id)) return;
    get(`/v1/subscriptions/${id}`).then(
      (subscription) => {
        urls.set(id, subscription.url);
        setUrl(subscription.url);
      },
      () => {},
    );
  }, [id]);
  return html`${url ? url.replace(/^https?:\/\//, "") : html`<code>${id.slice(-8)}</code>`}`;
}

const attempts = (count) => (count === 1 ? t("1 attempt") : t("{count} attempts", { count }));

function Delivery({ delivery, onChange, isShort }) {
  const [isOpen, setIsOpen] = useState(false);
  return html`
    <li>
      <button type="button" class="delivery-line" aria-expanded=${isOpen} onClick=${() => setIsOpen(!isOpen)}>
        <${Icon} name="next" />
        <${Status} status=${delivery.status} />
        <span class="to">
          ${
            isShort
              ? html`<${SubscriptionUrl} id=${delivery.subscription} />`
              : html`<code>${delivery.type || "–"}</code>`
          }
        </span>
        <span class="hint num">
          ${answerOf(delivery.last_status, delivery.last_error)} · ${attempts(delivery.attempt_count)}
        </span>
        <span class="push"></span>
        <span class="hint">
          ${
            delivery.status === "pending" && delivery.next_attempt_at
              ? html`${delivery.held === "probe" && t("probe")} <${Due} at=${delivery.next_attempt_at} />`
              : html`<${Ago} at=${delivery.last_attempt_at} />`
          }
        </span>
      </button>
      ${
        isOpen &&
        html`
          <div class="inside">
            <p class="line links">
              ${
                isShort
                  ? html`<a href=${link(`subscriptions/${delivery.subscription}`)}>${t("View subscription")}</a>`
                  : delivery.task_id && html`<a href=${link(`tasks/${delivery.task_id}`)}>${t("View task")}</a>`
              }
            </p>
            <${DeliveryDetail} id=${delivery.id} onChange=${onChange} />
          </div>
        `
      }
    </li>
  `;
}

export const Deliveries = ({ deliveries, onChange, isShort = false }) =>
  deliveries.length === 0
    ? null
    : html`
  <ul class="deliveries">
    ${deliveries.map(
      (delivery) =>
        html`<${Delivery} key=${delivery.id} delivery=${delivery} onChange=${onChange} isShort=${isShort} />`,
    )}
  </ul>
`;
