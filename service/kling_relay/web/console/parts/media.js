// Results: pictures and videos of a task, as they are and as thumbnails.
import { html, useState } from "../lib/html.js";
import { t } from "../lib/words.js";
import { Icon } from "./icons.js";

/** Return a task's results as `{type, url}`. */
export function results(task) {
  const found = task?.task_result || {};
  return [
    ...(found.images || []).map(({ url }) => ({ type: "image", url })),
    ...(found.videos || []).map(({ url, duration }) => ({ type: "video", url, duration })),
  ];
}

function Gone() {
  return html`<div class="gone"><${Icon} name="bad" /><span>${t("This address no longer answers. Results are deleted after a while.")}</span></div>`;
}

function Result({ type, url, index }) {
  const [isGone, gone] = useState(false);
  if (isGone) return html`<${Gone} />`;
  return type === "image"
    ? html`<a href=${url} target="_blank" rel="noreferrer"><img src=${url} alt=${t("Result {number}", { number: index + 1 })}
        referrerpolicy="no-referrer" onError=${() => gone(true)} /></a>`
    : html`<video src=${url} controls autoplay muted loop playsinline onError=${() => gone(true)}
        aria-label=${t("Result {number}", { number: index + 1 })}></video>`;
}

/** Everything that a task made, as large as there is room for. */
export const Results = ({ task }) => {
  const found = results(task);
  return html`<div class=${`results${found.length > 1 ? " many" : ""}`}>
    ${found.map((each, index) => html`<figure key=${each.url}><${Result} ...${each} index=${index} />
      <figcaption><a href=${each.url} target="_blank" rel="noreferrer" download>${t("Open the file")}</a></figcaption></figure>`)}
  </div>`;
};

/** The first result, small; the kind's icon where there is none. */
export function Thumb({ task }) {
  const [first] = results(task);
  const [isGone, gone] = useState(false);
  if (!first || isGone) return html`<span class="thumb"><${Icon} name=${task.kind} /></span>`;
  return html`<span class="thumb">${first.type === "image"
    ? html`<img src=${first.url} alt="" loading="lazy" referrerpolicy="no-referrer" onError=${() => gone(true)} />`
    : html`<video src=${`${first.url}#t=0.5`} muted preload="metadata" playsinline tabindex="-1" aria-hidden="true" onError=${() => gone(true)}></video>`}</span>`;
}
