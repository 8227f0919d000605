// Subscriptions: who is told of events, and at a glance whether they hear it.
import { html, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { number, share, span } from "../lib/format.js";
import { useLoaded, useThrottled } from "../lib/hooks.js";
import { link } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/words.js";
import { Create, SecretOnce } from "../parts/subscribing.js";
import { Icon } from "../parts/icons.js";
import { Bones, Button, Card, Due, Empty, Failure, Head, Status } from "../parts/ui.js";

/** Why a subscription is not healthy, or "" where it is. */
export function trouble(subscription, health) {
  if (subscription.status === "disabled") return t("Disabled: {reason}", { reason: subscription.disabled_reason || t("nobody said why") });
  if (subscription.status === "paused") return t("Paused: deliveries gather until it is resumed.");
  if (subscription.failing_since) return t("The last attempts failed. They are made again by the schedule; after five days of nothing but failures the subscription is disabled.");
  if (health?.exhausted) return t("{count} deliveries were given up; a replay sends them again.", { count: number(health.exhausted) });
  return "";
}

export const Health = ({ health }) => html`<dl class="health">
  <div><dt>${t("Success")}</dt><dd class="num">${health?.attempts ? share(health.delivered / health.attempts) : "–"}</dd></div>
  <div><dt>${t("Answers in")}</dt><dd class="num">${health?.attempts ? span(health.latency_p50_ms) : "–"}</dd></div>
  <div><dt>${t("Pending")}</dt><dd class="num">${health ? number(health.pending) : "–"}</dd></div>
  <div><dt>${t("Next attempt")}</dt><dd class="num">${health?.next_attempt_at ? html`<${Due} at=${health.next_attempt_at} />` : "–"}</dd></div>
</dl>`;

function One({ subscription, health }) {
  const why = trouble(subscription, health);
  const state = subscription.status === "active" && subscription.failing_since ? "failing" : subscription.status;
  return html`<li class="card sub"><a href=${link(`subscriptions/${subscription.id}`)}>
    <div class="line"><${Status} of=${state} />
      <span class="url">${subscription.url}</span><${Icon} name="next" /></div>
    <p class="hint">${subscription.description ? `${subscription.description} · ` : ""}${subscription.events.map((each) => html`<code>${each}</code> `)}· ${subscription.format}${subscription.ordering === "task" ? ` · ${t("in order")}` : ""}</p>
    <${Health} health=${health} />
    ${why && html`<p class=${`why ${subscription.status === "disabled" ? "" : "paused"}`}>${why}</p>`}
  </a></li>`;
}

export function SubscriptionsPage() {
  const { key } = useSettings();
  const [isNew, make] = useState(false);
  const [made, show] = useState(null);
  const { value, error, reload } = useLoaded(async (signal) => {
    const [page, overview] = await Promise.all([
      get("/v1/subscriptions", { limit: 200 }, { signal }),
      get("/v1/overview", { span: "day" }, { signal }).catch((failure) => { if (failure.name === "AbortError") throw failure; return null; }),
    ]);
    return { page, health: Object.fromEntries((overview?.subscriptions || []).map((each) => [each.id, each])) };
  }, [key]);
  const soon = useThrottled(reload, 3000);
  useEvents(() => soon(), []);
  const add = html`<${Button} kind="main" icon="plus" onClick=${() => make(true)}>${t("New subscription")}<//>`;
  return html`
    <${Head} title=${t("Subscriptions")} about=${t("Addresses that are told of every step, signed, and tried again until they answer.")}>${value?.page.data.length > 0 && add}<//>
    <${Failure} error=${error} onAgain=${reload} />
    ${!value && !error && html`<${Card} flush><${Bones} lines=${6} /><//>`}
    ${value && (value.page.data.length === 0 ? html`<${Card} flush><${Empty} icon="subscriptions" title=${t("Nobody is told yet")} acts=${html`${add}<a class="button" href="/docs#create_subscription">${t("The API")}</a>`}>
        <p>${t("A subscription sends events to an address of yours: no polling, no missed result. On a laptop, without a public address, this forwards them to a local port:")}</p>
        <pre class="inline"><code>kling-relay listen --forward-to http://localhost:3000/hook</code></pre><//><//>`
      : html`<ul class="subs">${value.page.data.map((each) => html`<${One} key=${each.id} subscription=${each} health=${value.health[each.id]} />`)}</ul>`)}
    ${isNew && html`<${Create} onClose=${() => make(false)} onMade=${(found) => { make(false); show(found); reload(); }} />`}
    ${made && html`<${SecretOnce} secret=${made.secret} subscription=${made} onClose=${() => show(null)} />`}`;
}
