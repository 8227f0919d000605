// One subscription: its health, its configuration, its actions, and its deliveries with their attempts.
import { html, useEffect, useState } from "../lib/html.js";
import { get, list, post, remove } from "../lib/api.js";
import { number, stamp } from "../lib/format.js";
import { useAction, useLoaded, useThrottled } from "../lib/hooks.js";
import { recall, remember } from "../lib/memory.js";
import { go, link } from "../lib/route.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/i18n.js";
import { Confirm, toast } from "../parts/dialog.js";
import { Deliveries } from "../parts/deliveries.js";
import { Replay, Rotate } from "../parts/replaying.js";
import { Create, reveal } from "../parts/subscribing.js";
import { Ago, Bones, Button, Card, Copy, Empty, Failure, Head, Notice, Status } from "../parts/ui.js";
import { Health, problemOf } from "./subscriptions.js";

const PAGE = 30;
const MAX_ROWS = 300;
const STATUSES = ["", "pending", "delivered", "exhausted"];
const TITLES = { __proto__: null, "": "All", pending: "Pending", delivered: "Delivered", exhausted: "Given up" };

function Facts({ subscription }) {
  const rows = [
    [t("Events"), subscription.events.map((type) => html`<code>${type}</code> `)],
    [t("Format"), subscription.format],
    [t("Ordering"), subscription.ordering === "task" ? t("In order per task") : t("As fast as possible")],
    [t("Concurrency"), subscription.max_in_flight],
    Object.keys(subscription.headers).length > 0 && [
      t("Headers"),
      Object.keys(subscription.headers).map((name) => html`<code>${name}</code> `),
    ],
    subscription.expired_deliveries > 0 && [t("Expired deliveries"), number(subscription.expired_deliveries)],
    [t("Created"), html`<${Ago} at=${subscription.created_at} />`],
    subscription.old_secrets_until && [t("Old secret valid until"), stamp(subscription.old_secrets_until)],
    [
      t("ID"),
      html`<span class="line one"><code class="id">${subscription.id}</code><${Copy} text=${subscription.id} /></span>`,
    ],
  ];
  return html`
    <dl class="facts">${rows.filter(Boolean).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
  `;
}

function Log({ id, status }) {
  const { value, error, isLoading, reload, set } = useLoaded(
    (signal) => {
      const before = recall("deliveries");
      const count = before?.status === status ? Math.min(before.count, MAX_ROWS) : 0;
      return list("/v1/deliveries", { subscription: id, status }, Math.max(PAGE, count), signal);
    },
    [id, status],
  );
  useEffect(() => {
    if (value && !isLoading) remember("deliveries", { status, count: value.data.length });
  }, [value, isLoading]);
  const reloadSoon = useThrottled(reload, 1500);
  useEvents(() => reloadSoon(), [id]);
  const more = useAction(async () => {
    const next = await get("/v1/deliveries", { subscription: id, status, limit: PAGE, cursor: value.next_cursor });
    set((before) => ({ data: [...before.data, ...next.data], next_cursor: next.next_cursor }));
  });
  const choose = (name) => go(`subscriptions/${id}`, { status: name }, { isSame: true });
  return html`
    <section class="card" aria-label=${t("Deliveries")}>
      <header>
        <h2>${t("Deliveries")}</h2>
        <div class="choices">
          ${STATUSES.map(
            (name) => html`
              <label class="choice small">
                <input type="radio" name="status" checked=${(status || "") === name} onChange=${() => choose(name)} />
                <span>${t(TITLES[name])}</span>
              </label>
            `,
          )}
        </div>
      </header>
      <${Failure} error=${error} onAgain=${reload} />
      ${!value && !error && html`<${Bones} lines=${5} />`}
      ${
        value &&
        (value.data.length
          ? html`<div class="log"><${Deliveries} deliveries=${value.data} onChange=${reload} /></div>`
          : html`
          <${Empty} icon="inbox" title=${t("No deliveries")}>
            <p>${t("Deliveries appear when tasks change. Send a test event to check the address now.")}</p>
          <//>
        `)
      }
      ${
        value?.next_cursor &&
        html`
          <div class="after"><${Button} onClick=${more.run} isBusy=${more.isBusy}>${t("Older deliveries")}<//></div>
        `
      }
    </section>
  `;
}

function Actions({ subscription, onOpen, reload }) {
  const path = `/v1/subscriptions/${subscription.id}`;
  const test = useAction(async () => {
    await post(`${path}/test`);
    toast(t("Test event sent. Its delivery appears below."));
    setTimeout(reload, 900);
  });
  const toggle = useAction(async () => {
    await post(`${path}/${subscription.status === "active" ? "pause" : "resume"}`);
    toast(
      subscription.status === "active"
        ? t("Paused. New deliveries are queued.")
        : t("Resumed. Queued deliveries are being sent."),
    );
    reload();
  });
  return html`
    <div class="acts-line">
      <${Button} icon="send" onClick=${test.run} isBusy=${test.isBusy} disabled=${subscription.status !== "active"}>
        ${t("Test")}
      <//>
      <${Button}
        icon=${subscription.status === "active" ? "pause" : "play"} onClick=${toggle.run} isBusy=${toggle.isBusy}
        kind=${subscription.status === "active" ? "" : "main"}
      >
        ${subscription.status === "active" ? t("Pause") : t("Resume")}
      <//>
      <${Button} icon="again" onClick=${() => onOpen("replay")}>${t("Replay")}<//>
      <${Button} icon="key" onClick=${() => onOpen("rotate")} disabled=${subscription.is_hook}>${t("New secret")}<//>
      <${Button} icon="edit" onClick=${() => onOpen("edit")}>${t("Edit")}<//>
      <${Button} icon="trash" kind="danger" onClick=${() => onOpen("delete")}>${t("Delete")}<//>
    </div>
    <${Failure} error=${test.error || toggle.error} />
  `;
}

export function SubscriptionPage({ id, query }) {
  const { value, error, reload } = useLoaded(
    async (signal) => {
      const [subscription, overview] = await Promise.all([
        get(`/v1/subscriptions/${id}`, {}, { signal }),
        get("/v1/overview", { span: "day", subscription: id }, { signal }).catch(() => null),
      ]);
      return { subscription, health: overview?.subscriptions.find((entry) => entry.id === id) };
    },
    [id],
  );
  const [open, setOpen] = useState("");
  const reloadSoon = useThrottled(reload, 3000);
  useEvents(() => reloadSoon(), [id]);
  const close = () => setOpen("");
  const back = { href: "#/subscriptions", title: t("Subscriptions") };
  if (!value)
    return html`
    <${Head} title=${t("Subscription")} back=${back} />
    ${
      error
        ? html`<${Failure} error=${error} onAgain=${reload} />`
        : html`<div class="card"><${Bones} lines=${8} /></div>`
    }
  `;
  const { subscription, health } = value;
  const problem = problemOf(subscription, health);
  return html`
    <${Head}
      title=${subscription.description || subscription.url.replace(/^https?:\/\//, "")}
      about=${subscription.description ? subscription.url : ""} back=${back}
    >
      <${Status}
        status=${subscription.status === "active" && subscription.failing_since ? "failing" : subscription.status}
      />
      ${subscription.is_hook && html`<span class="pill plain">${t("from an order")}</span>`}
    <//>
    <div class="stack">
      <${Actions} subscription=${subscription} onOpen=${setOpen} reload=${reload} />
      ${
        problem &&
        html`
          <${Notice} kind=${subscription.status === "disabled" ? "bad" : "wait"}>
            <p>${problem}</p>
            ${
              subscription.failing_since &&
              html`<p>${t("Failing since {time}", { time: stamp(subscription.failing_since) })}</p>`
            }
          <//>
        `
      }
      <div class="split sub-page">
        <${Log} id=${id} status=${query.get("status") || ""} />
        <div class="aside stack">
          <${Card} title=${t("Last 24 hours")}>
            <${Health} health=${health} />
            ${
              health &&
              html`
                <p class="hint below">
                  ${t("{count} attempts", { count: number(health.attempts) })}
                  ${health.exhausted ? ` · ${t("{count} given up", { count: number(health.exhausted) })}` : ""}
                </p>
              `
            }
          <//>
          <${Card} title=${t("Details")}><${Facts} subscription=${subscription} /><//>
        </div>
      </div>
    </div>
    ${
      open === "edit" &&
      html`
        <${Create}
          subscription=${subscription} onClose=${close}
          onMade=${() => {
            close();
            reload();
            toast(t("Saved."));
          }}
        />
      `
    }
    ${open === "replay" && html`<${Replay} id=${id} onClose=${close} onDone=${reload} />`}
    ${
      open === "rotate" &&
      html`
        <${Rotate}
          id=${id} onClose=${close}
          onMade=${(rotated) => {
            close();
            reveal({
              secret: rotated.secret,
              until: rotated.old_secrets_until && stamp(rotated.old_secrets_until),
            });
            reload();
          }}
        />
      `
    }
    ${
      open === "delete" &&
      html`
        <${Confirm}
          title=${t("Delete this subscription?")} yes=${t("Delete")} kind="main" onClose=${close}
          act=${async () => {
            await remove(`/v1/subscriptions/${id}`);
            location.hash = link("subscriptions");
            toast(t("Deleted."));
          }}
        >
          <p>${t("Its pending deliveries are dropped. Events stay in the log.")}</p>
        <//>
      `
    }
  `;
}
