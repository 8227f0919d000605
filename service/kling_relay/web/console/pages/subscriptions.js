// Subscriptions: the addresses that get events, and how healthy each of them is.
import { html, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { number, share, span } from "../lib/format.js";
import { useLoaded, useThrottled } from "../lib/hooks.js";
import { link } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/i18n.js";
import { Create, reveal } from "../parts/subscribing.js";
import { Icon } from "../parts/icons.js";
import { Bones, Button, Card, Due, Empty, Failure, Head, Status } from "../parts/ui.js";

/** Why a subscription is not healthy, or "" if it is. */
export function problemOf(subscription, health) {
  if (subscription.status === "disabled")
    return t("Disabled: {reason}", { reason: subscription.disabled_reason || t("unknown reason") });
  if (subscription.status === "paused") return t("Paused. New deliveries are queued until you resume it.");
  if (subscription.failing_since)
    return t(
      "Recent attempts failed and are being retried. After five days of failures, the subscription is disabled.",
    );
  if (health?.exhausted)
    return t("{count} deliveries were given up. A replay sends them again.", { count: number(health.exhausted) });
  return "";
}

export const Health = ({ health }) => html`
  <dl class="health">
    <div>
      <dt>${t("Success rate")}</dt>
      <dd class="num">${health?.attempts ? share(health.delivered / health.attempts) : "–"}</dd>
    </div>
    <div><dt>${t("p50 latency")}</dt><dd class="num">${health?.attempts ? span(health.latency_p50_ms) : "–"}</dd></div>
    <div><dt>${t("Pending")}</dt><dd class="num">${health ? number(health.pending) : "–"}</dd></div>
    <div>
      <dt>${t("Next attempt")}</dt>
      <dd class="num">${health?.next_attempt_at ? html`<${Due} at=${health.next_attempt_at} />` : "–"}</dd>
    </div>
  </dl>
`;

function SubscriptionRow({ subscription, health }) {
  const problem = problemOf(subscription, health);
  const state = subscription.status === "active" && subscription.failing_since ? "failing" : subscription.status;
  return html`
    <li class="card sub">
      <a href=${link(`subscriptions/${subscription.id}`)}>
        <div class="line">
          <${Status} status=${state} />
          <span class="url">${subscription.url}</span>
          <${Icon} name="next" />
        </div>
        <p class="hint">
          ${subscription.description ? `${subscription.description} · ` : ""}
          ${subscription.events.map((type) => html`<code>${type}</code> `)}
          · ${subscription.format}
          ${subscription.ordering === "task" ? ` · ${t("in order")}` : ""}
        </p>
        <${Health} health=${health} />
        ${problem && html`<p class=${`why ${subscription.status === "disabled" ? "" : "paused"}`}>${problem}</p>`}
      </a>
    </li>
  `;
}

export function SubscriptionsPage() {
  const { key } = useSettings();
  const [isNew, setIsNew] = useState(false);
  const { value, error, reload } = useLoaded(
    async (signal) => {
      const [page, overview] = await Promise.all([
        get("/v1/subscriptions", { limit: 200 }, { signal }),
        get("/v1/overview", { span: "day" }, { signal }).catch((failure) => {
          if (failure.name === "AbortError") throw failure;
          return null;
        }),
      ]);
      return {
        page,
        health: Object.fromEntries(
          (overview?.subscriptions || []).map((subscription) => [subscription.id, subscription]),
        ),
      };
    },
    [key],
  );
  const reloadSoon = useThrottled(reload, 3000);
  useEvents(() => reloadSoon(), []);
  const add = html`<${Button} kind="main" icon="plus" onClick=${() => setIsNew(true)}>${t("New subscription")}<//>`;
  return html`
    <${Head}
      title=${t("Subscriptions")}
      about=${t("Addresses that receive a signed event for every change, with retries until they answer.")}
    >
      ${value?.page.data.length > 0 && add}
    <//>
    <${Failure} error=${error} onAgain=${reload} />
    ${!value && !error && html`<${Card} flush><${Bones} lines=${6} /><//>`}
    ${
      value &&
      (value.page.data.length === 0
        ? html`
        <${Card} flush>
          <${Empty}
            icon="subscriptions" title=${t("No subscriptions yet")}
            acts=${html`${add}<a class="button" href="/docs#create_subscription">${t("API reference")}</a>`}
          >
            <p>
              ${t("A subscription sends events to your URL, so you need not poll. To receive them on a laptop, run:")}
            </p>
            <pre class="inline"><code>kling-relay listen --forward-to http://localhost:3000/hook</code></pre>
          <//>
        <//>
      `
        : html`
        <ul class="subs">
          ${value.page.data.map(
            (subscription) => html`
              <${SubscriptionRow}
                key=${subscription.id} subscription=${subscription} health=${value.health[subscription.id]}
              />
            `,
          )}
        </ul>
      `)
    }
    ${
      isNew &&
      html`
        <${Create}
          onClose=${() => setIsNew(false)}
          onMade=${(subscription) => {
            setIsNew(false);
            reveal({ secret: subscription.secret });
            reload();
          }}
        />
      `
    }
  `;
}
