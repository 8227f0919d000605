// One subscription: its health, what it asks for, what can be done with it, and its deliveries with their attempts.
import { html, useState } from "../lib/html.js";
import { get, post, remove } from "../lib/api.js";
import { number, stamp } from "../lib/format.js";
import { useAct, useLoaded, useThrottled } from "../lib/hooks.js";
import { go, link } from "../lib/route.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/words.js";
import { Sure, toast } from "../parts/dialog.js";
import { Deliveries } from "../parts/deliveries.js";
import { Replay, Rotate } from "../parts/replaying.js";
import { Create, SecretOnce } from "../parts/subscribing.js";
import { Ago, Bones, Button, Card, Copy, Empty, Failure, Head, Notice, Status } from "../parts/ui.js";
import { Health, trouble } from "./subscriptions.js";

const STATUSES = ["", "pending", "delivered", "exhausted"];
const TITLES = { "": "All", pending: "Pending", delivered: "Delivered", exhausted: "Exhausted" };

function Facts({ of }) {
  const rows = [
    [t("Events"), of.events.map((each) => html`<code>${each}</code> `)], [t("Format"), of.format],
    [t("Order"), of.ordering === "task" ? t("In order, per task") : t("As fast as possible")],
    [t("At once, at most"), of.max_in_flight],
    Object.keys(of.headers).length > 0 && [t("Headers"), Object.keys(of.headers).map((name) => html`<code>${name}</code> `)],
    [t("Made"), html`<${Ago} at=${of.created_at} />`],
    of.old_secrets_until && [t("Old secret until"), stamp(of.old_secrets_until)],
    [t("Id"), html`<span class="line one"><code class="id">${of.id}</code><${Copy} text=${of.id} /></span>`],
  ];
  return html`<dl class="facts">${rows.filter(Boolean).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

function Log({ id, status }) {
  const { value, error, reload, set } = useLoaded((signal) => get("/v1/deliveries", { subscription: id, status, limit: 30 }, { signal }), [id, status]);
  const soon = useThrottled(reload, 1500);
  useEvents(() => soon(), [id]);
  const more = useAct(async () => {
    const next = await get("/v1/deliveries", { subscription: id, status, limit: 30, cursor: value.next_cursor });
    set((before) => ({ data: [...before.data, ...next.data], next_cursor: next.next_cursor }));
  });
  const choose = (word) => go(`subscriptions/${id}`, { status: word }, { isSame: true });
  return html`<section class="card" aria-label=${t("Deliveries")}>
    <header><h2>${t("Deliveries")}</h2><div class="choices">${STATUSES.map((word) => html`<label class="choice small"><input type="radio" name="status" checked=${(status || "") === word} onChange=${() => choose(word)} /><span>${t(TITLES[word])}</span></label>`)}</div></header>
    <${Failure} error=${error} onAgain=${reload} />
    ${!value && !error && html`<${Bones} lines=${5} />`}
    ${value && (value.data.length ? html`<div class="log"><${Deliveries} of=${value.data} onChange=${reload} /></div>`
      : html`<${Empty} icon="inbox" title=${t("No deliveries here")}><p>${t("They appear as tasks take steps. A test shows at once whether the address answers.")}</p><//>`)}
    ${value?.next_cursor && html`<div class="after"><${Button} onClick=${more.run} isBusy=${more.isBusy}>${t("Older deliveries")}<//></div>`}
  </section>`;
}

function Acts({ of, onOpen, reload }) {
  const path = `/v1/subscriptions/${of.id}`;
  const test = useAct(async () => {
    await post(`${path}/test`);
    toast(t("A test is on its way; its delivery appears below."));
    setTimeout(reload, 900);
  });
  const turn = useAct(async () => {
    await post(`${path}/${of.status === "active" ? "pause" : "resume"}`);
    toast(of.status === "active" ? t("Paused. Deliveries gather.") : t("Resumed. What gathered is delivered now."));
    reload();
  });
  return html`<div class="acts-line">
    <${Button} icon="send" onClick=${test.run} isBusy=${test.isBusy} disabled=${of.status !== "active"}>${t("Test")}<//>
    <${Button} icon=${of.status === "active" ? "pause" : "play"} onClick=${turn.run} isBusy=${turn.isBusy} kind=${of.status === "active" ? "" : "main"}>${of.status === "active" ? t("Pause") : t("Resume")}<//>
    <${Button} icon="again" onClick=${() => onOpen("replay")}>${t("Replay")}<//>
    <${Button} icon="key" onClick=${() => onOpen("rotate")} disabled=${of.is_hook}>${t("New secret")}<//>
    <${Button} icon="edit" onClick=${() => onOpen("edit")}>${t("Change")}<//>
    <${Button} icon="trash" kind="danger" onClick=${() => onOpen("delete")}>${t("Delete")}<//>
  </div><${Failure} error=${test.error || turn.error} />`;
}

export function SubscriptionPage({ id, query }) {
  const { value, error, reload } = useLoaded(async (signal) => {
    const [of, overview] = await Promise.all([
      get(`/v1/subscriptions/${id}`, {}, { signal }),
      get("/v1/overview", { span: "day", subscription: id }, { signal }).catch(() => null),
    ]);
    return { of, health: overview?.subscriptions.find((each) => each.id === id) };
  }, [id]);
  const [open, setOpen] = useState("");
  const [secret, show] = useState(null);
  const soon = useThrottled(reload, 3000);
  useEvents(() => soon(), [id]);
  const close = () => setOpen("");
  const back = { href: "#/subscriptions", title: t("Subscriptions") };
  if (!value) return html`<${Head} title=${t("Subscription")} back=${back} />${error ? html`<${Failure} error=${error} onAgain=${reload} />` : html`<div class="card"><${Bones} lines=${8} /></div>`}`;
  const { of, health } = value;
  const why = trouble(of, health);
  return html`
    <${Head} title=${of.description || of.url.replace(/^https?:\/\//, "")} about=${of.description ? of.url : ""} back=${back}>
      <${Status} of=${of.status === "active" && of.failing_since ? "failing" : of.status} />${of.is_hook && html`<span class="pill plain">${t("from an order")}</span>`}<//>
    <div class="stack">
      <${Acts} of=${of} onOpen=${setOpen} reload=${reload} />
      ${why && html`<${Notice} kind=${of.status === "disabled" ? "bad" : "wait"}><p>${why}</p>${of.failing_since && html`<p>${t("Failing since {time}", { time: stamp(of.failing_since) })}</p>`}<//>`}
      <div class="split sub-page">
        <${Log} id=${id} status=${query.get("status") || ""} />
        <div class="aside stack"><${Card} title=${t("The last day")}><${Health} health=${health} />
            ${health && html`<p class="hint below">${t("{count} attempts", { count: number(health.attempts) })}${health.exhausted ? ` · ${t("{count} given up", { count: number(health.exhausted) })}` : ""}</p>`}<//>
          <${Card} title=${t("Facts")}><${Facts} of=${of} /><//></div>
      </div>
    </div>
    ${open === "edit" && html`<${Create} of=${of} onClose=${close} onMade=${() => { close(); reload(); toast(t("Saved.")); }} />`}
    ${open === "replay" && html`<${Replay} id=${id} onClose=${close} onDone=${reload} />`}
    ${open === "rotate" && html`<${Rotate} id=${id} onClose=${close} onMade=${(found) => { close(); show(found); reload(); }} />`}
    ${open === "delete" && html`<${Sure} title=${t("Delete this subscription?")} yes=${t("Delete")} kind="main" onClose=${close} act=${async () => { await remove(`/v1/subscriptions/${id}`); location.hash = link("subscriptions"); toast(t("Deleted.")); }}>
      <p>${t("What is still to be delivered to it is dropped. Events stay in the log.")}</p><//>`}
    ${secret && html`<${SecretOnce} secret=${secret.secret} until=${secret.old_secrets_until && stamp(secret.old_secrets_until)} onClose=${() => show(null)} />`}`;
}
