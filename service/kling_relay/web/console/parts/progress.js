// The progress of a task on the page that ordered it: its steps, its time, and its results.
import { html, useEffect, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { span } from "../lib/format.js";
import { useNow } from "../lib/hooks.js";
import { link } from "../lib/route.js";
import { useEvents } from "../lib/stream.js";
import { t } from "../lib/i18n.js";
import { Icon } from "./icons.js";
import { ResultMissing, Results } from "./media.js";
import { Button, Card, Copy, Empty, Notice, Status } from "./ui.js";

const LOOK_EVERY = 15;
const isFinal = (task) => task.task_status === "succeed" || task.task_status === "failed";

/** Follow a task both by the stream and by long polling; either alone is enough. */
export function useTask(first) {
  const [task, setTask] = useState(first);
  useEffect(() => {
    setTask(first);
    if (!first) return undefined;
    const controller = new AbortController();
    (async () => {
      let wait; // the first answer is its state now
      for (let failures = 0; !controller.signal.aborted;) {
        try {
          const answer = await get(`/v1/tasks/${first.task_id}`, { wait }, { signal: controller.signal });
          setTask(answer);
          failures = 0;
          wait = LOOK_EVERY;
          if (isFinal(answer)) return;
        } catch (error) {
          if (error.status === 404) setTask(null);
          if (error.name === "AbortError" || error.status === 401 || error.status === 404) return;
          failures += 1;
          await new Promise((resolve) => {
            setTimeout(resolve, Math.min(10, failures) * 1000);
          });
        }
      }
    })();
    return () => controller.abort();
  }, [first?.task_id]);
  useEvents(
    ({ type, data }) => {
      if (!type.startsWith("task.") || data.task_id !== first?.task_id) return;
      setTask((before) =>
        before && data.sequence < (before.sequence ?? 0) ? before : { ...before, result_missing: false, ...data },
      );
    },
    [first?.task_id],
  );
  return task;
}

const STEPS = [
  ["submitted", "Submitted"],
  ["processing", "Processing"],
  ["succeed", "Done"],
];

function Steps({ task }) {
  const at = Math.max(0, ["submitted", "processing", "succeed"].indexOf(task.task_status));
  const isBad = task.task_status === "failed";
  return html`
    <ol class="steps">
      ${STEPS.map(
        ([status, title], index) => html`
          <li
            class=${
              isBad && index === 2
                ? "bad"
                : index < at || task.task_status === "succeed"
                  ? "done"
                  : index === at && !isBad
                    ? "now"
                    : isBad
                      ? "done"
                      : ""
            }
            aria-current=${index === at ? "step" : undefined}
          >
            <span>${isBad && status === "succeed" ? t("Failed") : t(title)}</span>
          </li>
        `,
      )}
    </ol>
  `;
}

export function Progress({ task: first, onClose }) {
  const task = useTask(first);
  const now = useNow(250);
  if (!task) {
    return html`
      <${Card} kind="flat progress">
        <${Empty} icon="play" title=${t("Your result appears here")}>
          <p>
            ${t("Submit an order to see its progress and result here. All orders are listed under Tasks.")}
          </p>
        <//>
      <//>
    `;
  }
  const until = isFinal(task) ? task.updated_at : now;
  return html`
    <section class="card progress" aria-label=${t("Your task")} aria-live="polite">
      <header>
        <${Status} status=${task.task_status} moving=${!isFinal(task)} />
        <span class="num hint">${span(Math.max(0, until - task.created_at))}</span>
        <span class="push"></span>
        <${Button} kind="quiet icon small" icon="close" label=${t("Close")} onClick=${onClose} />
      </header>
      <div class="body stack">
        <${Steps} task=${task} />
        ${task.task_status === "succeed" && html`<${Results} task=${task} />`}
        ${task.result_missing && html`<${ResultMissing} />`}
        ${
          task.task_status === "failed" &&
          html`
            <${Notice} kind="bad">
              <p><strong>${task.task_status_msg || t("The task failed.")}</strong></p>
              <p>${t("Failed tasks are free. Change the order and submit it again.")}</p>
            <//>
          `
        }
        ${!isFinal(task) && html`<div class="waiting"><i></i></div>`}
        <div class="line">
          <code class="id">${task.task_id}</code>
          <${Copy} text=${task.task_id} label=${t("Copy task ID")} />
          <span class="push"></span>
          <a href=${link(`tasks/${task.task_id}`)}>${t("Full timeline")} <${Icon} name="next" /></a>
        </div>
      </div>
    </section>
  `;
}
