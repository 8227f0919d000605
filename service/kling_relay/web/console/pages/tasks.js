// Tasks: a live list, newest first, filtered by the query of the address; a row opens the task's page.
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { get, list } from "../lib/api.js";
import { brief, moment, span } from "../lib/format.js";
import { useAction, useLoaded, useSettled } from "../lib/hooks.js";
import { KINDS } from "../lib/orders.js";
import { recall, remember } from "../lib/memory.js";
import { go, link } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/i18n.js";
import { Filters } from "../parts/filters.js";
import { Icon } from "../parts/icons.js";
import { Thumb } from "../parts/media.js";
import { Ago, Bones, Button, Card, Code, Empty, Failure, Head, KINDS as TITLES, Status } from "../parts/ui.js";
import { base } from "../lib/settings.js";

const exampleCommand = () =>
  [
    `curl '${base()}/kling/v1/videos/text2video'`,
    "-H 'Authorization: Bearer YOUR-KEY'",
    "-H 'Content-Type: application/json'",
    `-d '{"prompt": "太空飞船在航行"}'`,
  ].join(" \\\n  ");

const PAGE = 25;
const MAX_ROWS = 500;
const SINCE = { __proto__: null, hour: 3600e3, day: 86400e3, week: 7 * 86400e3, month: 30 * 86400e3 };
const details = new Map();

/** What lists omit (prompt, model, price): loaded once per task and cached. */
function useDetail(task) {
  const known = details.get(task.task_id);
  const { value } = useLoaded(
    async (signal) => {
      if (known) return known;
      const detail = await get(`/v1/tasks/${task.task_id}`, {}, { signal });
      if (details.size > MAX_ROWS) details.clear();
      details.set(task.task_id, detail);
      return detail;
    },
    [task.task_id],
  );
  return known || value;
}

function Row({ task }) {
  const detail = useDetail(task);
  const isFinal = task.task_status === "succeed" || task.task_status === "failed";
  const prompt = detail?.fields?.prompt;
  return html`
    <li>
      <a class="task" href=${link(`tasks/${task.task_id}`)}>
        <${Thumb} task=${task} />
        <span class="words">
          <span class="what">
            ${prompt || (task.kind.startsWith("image") ? t("No prompt") : t(TITLES[task.kind]))}
          </span>
          <span class="hint">
            ${t(TITLES[task.kind])}
            ${detail ? ` · ${detail.model}` : ""} · <code>${task.external_task_id || brief(task.task_id)}</code>
          </span>
          ${task.task_status === "failed" && html`<span class="why">${task.task_status_msg}</span>`}
        </span>
        <span class="state"><${Status} status=${task.task_status} moving=${!isFinal} /></span>
        <span class="times">
          <${Ago} at=${task.created_at} />
          <span class="hint num">${isFinal ? span(task.updated_at - task.created_at) : ""}</span>
        </span>
        <${Icon} name="next" />
      </a>
    </li>
  `;
}

const matches = (task, { status, kind, since, until, text }) =>
  (!status || task.task_status === status) &&
  (!kind || task.kind === kind) &&
  !until &&
  !text &&
  (!since || moment(task.created_at) >= moment(since));

/** A local time as RFC 3339, null if the text is not a time. */
function instant(text) {
  const at = new Date(text || NaN);
  return Number.isNaN(at.getTime()) ? null : at.toISOString();
}

/** Turn the address's query into the API's; "since" is a period up to now, "from" and "until" are local times. */
function filtersOf(query) {
  const back = SINCE[query.get("since")];
  return {
    status: query.get("status"),
    kind: query.get("kind"),
    text: query.get("text"),
    since: instant(query.get("from")) || (back ? new Date(Date.now() - back).toISOString() : null),
    until: instant(query.get("until")),
  };
}

/** Merge an event into the list: a listed task is updated, a new one is put first. */
function merged(page, task, filters) {
  if (!page) return page;
  const place = page.data.findIndex((entry) => entry.task_id === task.task_id);
  if (place >= 0) {
    if (page.data[place].sequence > task.sequence) return page;
    return { ...page, data: page.data.map((entry, index) => (index === place ? { ...entry, ...task } : entry)) };
  }
  if (!matches(task, filters) || (page.data[0] && task.task_id < page.data[0].task_id)) return page;
  return { ...page, data: [task, ...page.data] };
}

export function TasksPage({ query }) {
  const { key } = useSettings();
  const address = query.toString();
  const [text, setText] = useState(query.get("text") || "");
  const settled = useSettled(text, 350);
  const isFirst = useRef(true);
  useEffect(() => {
    if (isFirst.current) {
      isFirst.current = false;
      return;
    }
    go("tasks", { ...Object.fromEntries(query), text: settled }, { isSame: true });
  }, [settled]);
  const filters = useMemo(() => filtersOf(query), [address]);
  const {
    value: page,
    error,
    isLoading,
    reload,
    set,
  } = useLoaded(
    (signal) => {
      // as many rows as the reader had loaded, after Back and after an error
      const before = recall("rows");
      const count = before?.address === address ? Math.min(before.count, MAX_ROWS) : 0;
      return list("/v1/tasks", filters, Math.max(PAGE, count), signal);
    },
    [address, key],
  );
  useEffect(() => {
    if (page && !isLoading) remember("rows", { address, count: page.data.length });
  }, [page, isLoading]);
  useEvents(
    ({ type: kind, data }) => {
      if (kind.startsWith("task.")) set((before) => merged(before, data, filters));
    },
    [address],
  );
  const more = useAction(async () => {
    const next = await get("/v1/tasks", { ...filters, limit: PAGE, cursor: page.next_cursor });
    set((before) => ({ data: [...before.data, ...next.data], next_cursor: next.next_cursor }));
  });
  const changeFilters = (some) => go("tasks", { ...Object.fromEntries(query), ...some }, { isSame: true });
  const isFiltered = [...query.keys()].length > 0;
  return html`
    <${Head} title=${t("Tasks")} about=${t("All tasks of your client, newest first, updated live.")}>
      <a class="button main" href="#/try"><${Icon} name="plus" />${t("New order")}</a>
    <//>
    <${Filters} query=${query} onFilter=${changeFilters} text=${text} onText=${setText} kinds=${KINDS} />
    <${Failure} error=${error} onAgain=${reload} />
    ${!page && !error && html`<${Card} flush><${Bones} lines=${8} /><//>`}
    ${
      page &&
      html`
        <section class="card" aria-label=${t("Tasks")}>
          ${
            page.data.length > 0 &&
            html`
              <ul class="tasks" aria-live="polite" aria-relevant="additions">
                ${page.data.map((task) => html`<${Row} key=${task.task_id} task=${task} />`)}
              </ul>
            `
          }
          ${
            page.data.length === 0 &&
            (isFiltered
              ? html`
              <${Empty}
                icon="search" title=${page.next_cursor ? t("No match among the newest tasks") : t("No matching tasks")}
                acts=${html`
                  <${Button}
                    onClick=${() => {
                      setText("");
                      go("tasks", {}, { isSame: true });
                    }}
                  >
                    ${t("Clear filters")}
                  <//>
                `}
              >
                <p>${t("The search covers IDs, models and orders.")}</p>
              <//>
            `
              : html`
              <${Empty}
                icon="tasks" title=${t("No tasks yet")}
                acts=${html`<a class="button main" href="#/try">${t("Create a task")}</a>`}
              >
                <p>${t("Every accepted order becomes a task. Submit the first one here, or with a client:")}</p>
                <${Code}
                  text=${exampleCommand()}
                />
              <//>
            `)
          }
        </section>
        ${
          page.next_cursor &&
          html`<div class="after"><${Button} onClick=${more.run} isBusy=${more.isBusy}>${t("Older tasks")}<//></div>`
        }
        <${Failure} error=${more.error} />
      `
    }
  `;
}
