// Tasks: newest first, filtered by what stands in the address, live; each row opens the task's whole life.
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { brief, moment, span } from "../lib/format.js";
import { useAct, useLoaded, useSettled } from "../lib/hooks.js";
import { KINDS } from "../lib/orders.js";
import { go, link } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/words.js";
import { Filters } from "../parts/filters.js";
import { Icon } from "../parts/icons.js";
import { Thumb } from "../parts/media.js";
import { Ago, Bones, Button, Card, Code, Empty, Failure, Head, KINDS as TITLES, Status } from "../parts/ui.js";
import { base } from "../lib/settings.js";

const PAGE = 25;
const SINCE = { hour: 3600e3, day: 86400e3, week: 7 * 86400e3, month: 30 * 86400e3 };
const details = new Map();

/** What lists do not say (prompt, model, price), asked once per task and remembered. */
function useDetail(task) {
  const [detail, see] = useState(details.get(task.task_id));
  useEffect(() => {
    if (details.has(task.task_id)) return undefined;
    const ended = new AbortController();
    get(`/v1/tasks/${task.task_id}`, {}, { signal: ended.signal }).then((found) => {
      if (details.size > 500) details.clear();
      details.set(task.task_id, found);
      see(found);
    }, () => {});
    return () => ended.abort();
  }, [task.task_id]);
  return detail;
}

function Row({ task }) {
  const detail = useDetail(task);
  const isFinal = task.task_status === "succeed" || task.task_status === "failed";
  const prompt = detail?.fields?.prompt;
  return html`<li><a class="task" href=${link(`tasks/${task.task_id}`)}>
    <${Thumb} task=${task} />
    <span class="words"><span class="what">${prompt || (task.kind.startsWith("image") ? t("From a picture, without words") : t(TITLES[task.kind]))}</span>
      <span class="hint">${t(TITLES[task.kind])}${detail ? ` · ${detail.model}` : ""} · <code>${task.external_task_id || brief(task.task_id)}</code></span>
      ${task.task_status === "failed" && html`<span class="why">${task.task_status_msg}</span>`}</span>
    <span class="state"><${Status} of=${task.task_status} moving=${!isFinal} /></span>
    <span class="times"><${Ago} at=${task.created_at} /><span class="hint num">${isFinal ? span(task.updated_at - task.created_at) : ""}</span></span>
    <${Icon} name="next" />
  </a></li>`;
}

const matches = (task, { status, kind, since, until, text }) =>
  (!status || task.task_status === status) && (!kind || task.kind === kind) && !until && !text
  && (!since || moment(task.created_at) >= moment(since));

/** Turn the address's words into what the API is asked; "since" is a span back from now, or two local times. */
function asked(query) {
  const back = SINCE[query.get("since")];
  const until = query.get("until");
  const from = query.get("from");
  return {
    status: query.get("status"), kind: query.get("kind"), text: query.get("text"),
    since: from ? new Date(from).toISOString() : back ? new Date(Date.now() - back).toISOString() : null,
    until: until ? new Date(until).toISOString() : null,
  };
}

/** Bring what an event says into the list: a task that is there changes, a new one goes to the top. */
function merged(page, task, wanted) {
  if (!page) return page;
  const at = page.data.findIndex((each) => each.task_id === task.task_id);
  if (at >= 0) {
    if (page.data[at].sequence > task.sequence) return page;
    return { ...page, data: page.data.map((each, index) => (index === at ? { ...each, ...task } : each)) };
  }
  if (!matches(task, wanted) || (page.data[0] && task.task_id < page.data[0].task_id)) return page;
  return { ...page, data: [task, ...page.data] };
}

export function TasksPage({ query }) {
  const { key } = useSettings();
  const words = query.toString();
  const [text, type] = useState(query.get("text") || "");
  const settled = useSettled(text, 350);
  const isFirst = useRef(true);
  useEffect(() => {
    if (isFirst.current) { isFirst.current = false; return; }
    go("tasks", { ...Object.fromEntries(query), text: settled }, { isSame: true });
  }, [settled]);
  const wanted = useMemo(() => asked(query), [words]);
  const { value: page, error, reload, set } = useLoaded((signal) => get("/v1/tasks", { ...wanted, limit: PAGE }, { signal }), [words, key]);
  useEvents(({ type: kind, data }) => { if (kind.startsWith("task.")) set((before) => merged(before, data, wanted)); }, [words]);
  const more = useAct(async () => {
    const next = await get("/v1/tasks", { ...wanted, limit: PAGE, cursor: page.next_cursor });
    set((before) => ({ data: [...before.data, ...next.data], next_cursor: next.next_cursor }));
  });
  const filter = (some) => go("tasks", { ...Object.fromEntries(query), ...some }, { isSame: true });
  const isFiltered = [...query.keys()].length > 0;
  return html`
    <${Head} title=${t("Tasks")} about=${t("Everything that was ordered with your key, newest first, live.")}>
      <a class="button main" href="#/try"><${Icon} name="plus" />${t("New order")}</a><//>
    <${Filters} query=${query} onFilter=${filter} text=${text} onText=${type} kinds=${KINDS} />
    <${Failure} error=${error} onAgain=${reload} />
    ${!page && !error && html`<${Card} flush><${Bones} lines=${8} /><//>`}
    ${page && html`<section class="card" aria-label=${t("Tasks")}>
      ${page.data.length > 0 && html`<ul class="tasks" aria-live="polite" aria-relevant="additions">${page.data.map((task) => html`<${Row} key=${task.task_id} task=${task} />`)}</ul>`}
      ${page.data.length === 0 && (isFiltered ? html`<${Empty} icon="search" title=${page.next_cursor ? t("Nothing yet among the newest") : t("Nothing fits")}
          acts=${html`<${Button} onClick=${() => { type(""); go("tasks", {}, { isSame: true }); }}>${t("Show everything")}<//>`}>
          <p>${t("Texts are looked for in ids, models and orders.")}</p><//>`
        : html`<${Empty} icon="tasks" title=${t("No tasks yet")} acts=${html`<a class="button main" href="#/try">${t("Order something")}</a>`}>
          <p>${t("An order becomes a task the moment it is accepted. Send the first one from here, or point a client at the service:")}</p>
          <${Code} text=${`curl '${base()}/kling/v1/videos/text2video' \\\n  -H 'Authorization: Bearer YOUR-KEY' \\\n  -H 'Content-Type: application/json' \\\n  -d '{"prompt": "太空飞船在航行"}'`} /><//>`)}
    </section>
    ${page.next_cursor && html`<div class="after"><${Button} onClick=${more.run} isBusy=${more.isBusy}>${t("Older tasks")}<//></div>`}
    <${Failure} error=${more.error} />`}`;
}
