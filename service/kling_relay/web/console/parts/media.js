// Results: a task's pictures and videos, in full and as thumbnails.
import { html, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { Icon } from "./icons.js";
import { Notice } from "./ui.js";

/** Return the address of a file: of the watermarked one if there is no other. */
const urlOf = (file) => file.url || file.watermark_url;

/** Return a task's results as `{type, url}`. */
export function results(task) {
  const result = task?.task_result || {};
  const files = [
    ...(result.images || []).map((file) => ({ type: "image", url: urlOf(file) })),
    ...(result.videos || []).map((file) => ({ type: "video", url: urlOf(file), duration: file.duration })),
  ];
  return files.filter(({ url }) => url);
}

/** What to say about a task that succeeded without a file. */
export const ResultMissing = () => html`
  <${Notice} kind="wait" icon="clock">
    <p>
      ${t("The provider reports success but has named no file, even when asked. The result is added if it arrives.")}
    </p>
  <//>
`;

function Gone() {
  return html`
    <div class="gone">
      <${Icon} name="bad" />
      <span>${t("This file is no longer available. Providers delete results after a while.")}</span>
    </div>
  `;
}

function Result({ type, url, index }) {
  const [isGone, setIsGone] = useState(false);
  if (isGone) return html`<${Gone} />`;
  return type === "image"
    ? html`
      <a href=${url} target="_blank" rel="noreferrer">
        <img
          src=${url} alt=${t("Result {number}", { number: index + 1 })} referrerpolicy="no-referrer"
          onError=${() => setIsGone(true)}
        />
      </a>
    `
    : html`<video src=${url} controls autoplay muted loop playsinline onError=${() => setIsGone(true)}
        aria-label=${t("Result {number}", { number: index + 1 })}></video>`;
}

/** All results of a task, as large as the space allows. */
export const Results = ({ task }) => {
  const files = results(task);
  return html`
    <div class=${`results${files.length > 1 ? " many" : ""}`}>
      ${files.map(
        (file, index) => html`
          <figure key=${file.url}>
            <${Result} ...${file} index=${index} />
            <figcaption>
              <a href=${file.url} target="_blank" rel="noreferrer" download>${t("Open file")}</a>
            </figcaption>
          </figure>
        `,
      )}
    </div>
  `;
};

/** The first result as a thumbnail, or the kind's icon if there is none. */
export function Thumb({ task }) {
  const [first] = results(task);
  const [isGone, setIsGone] = useState(false);
  if (!first || isGone) return html`<span class="thumb"><${Icon} name=${task.kind} /></span>`;
  return html`
    <span class="thumb">
      ${
        first.type === "image"
          ? html`
          <img src=${first.url} alt="" loading="lazy" referrerpolicy="no-referrer" onError=${() => setIsGone(true)} />
        `
          : html`
          <video
            src=${`${first.url}#t=0.5`} muted preload="metadata" playsinline tabindex="-1" aria-hidden="true"
            onError=${() => setIsGone(true)}
          ></video>
        `
      }
    </span>
  `;
}
