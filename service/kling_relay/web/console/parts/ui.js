// The small pieces that every page is made of.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { ago, stamp } from "../lib/format.js";
import { useNow } from "../lib/hooks.js";
import { t } from "../lib/words.js";
import { Icon } from "./icons.js";

const STATUSES = {
  submitted: "Submitted", processing: "Processing", succeed: "Succeeded", failed: "Failed", active: "Active",
  paused: "Paused", disabled: "Disabled", failing: "Failing", pending: "Pending", delivered: "Delivered", exhausted: "Exhausted",
};

/** A status of anything, as a coloured pill. */
export const Status = ({ of, moving = false }) =>
  html`<span class=${`pill ${of}${moving ? " moving" : ""}`}>${t(STATUSES[of] || of)}</span>`;

export const KINDS = {
  text2image: "Text to image", image2image: "Image to image", text2video: "Text to video", image2video: "Image to video",
};

/** A button; while `isBusy` it turns and cannot be pressed. */
export function Button({ icon, kind = "", isBusy = false, children, disabled, type = "button", label, ...rest }) {
  return html`<button type=${type} class=${`button ${kind}`} disabled=${disabled || isBusy} aria-busy=${isBusy}
    aria-label=${label} title=${label} ...${rest}>
    ${isBusy ? html`<span class="spin" aria-hidden="true"></span>` : icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** What was copied stays marked for a moment. */
export function Copy({ text, label = t("Copy"), kind = "quiet small icon copy" }) {
  const [isDone, done] = useState(false);
  useEffect(() => {
    if (!isDone) return undefined;
    const timer = setTimeout(() => done(false), 1600);
    return () => clearTimeout(timer);
  }, [isDone]);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      done(true);
    } catch { /* a page without permission: the text can still be selected */ }
  }
  return html`<${Button} icon=${isDone ? "check" : "copy"} kind=${`${kind}${isDone ? " done" : ""}`} onClick=${copy}
    label=${isDone ? t("Copied") : label} />`;
}

/** Code to read and to copy. */
export const Code = ({ text, shown = text, label }) => html`
  <div class="code"><pre tabindex="0" aria-label=${label || t("Code")}>${shown}</pre><${Copy} text=${text} /></div>`;

/** Something to know: `kind` is calm, good, wait or bad. */
export const Notice = ({ kind = "calm", icon, role, acts, children }) => html`
  <div class=${`notice ${kind}`} role=${role}>
    <${Icon} name=${icon || { bad: "bad", wait: "bad", good: "good" }[kind] || "note"} />
    <div class="words">${children}</div>${acts}
  </div>`;

/** A failure: what happened, what is wrong with which field, and what to do. */
export function Failure({ error, onAgain }) {
  if (!error) return null;
  const isKey = error.status === 401;
  return html`<${Notice} kind="bad" role="alert" acts=${html`
      ${isKey && html`<a class="button small" href="#/settings">${t("Settings")}</a>`}
      ${onAgain && !isKey && html`<${Button} kind="small" icon="again" onClick=${onAgain}>${t("Again")}<//>`}`}>
    <p><strong>${error.message}</strong></p>
    ${error.advice && html`<p>${error.advice}</p>`}
    ${error.errors?.length > 1 && html`<ul>${error.errors.map((each) => html`<li><code>${each.field}</code> ${each.detail}</li>`)}</ul>`}
  <//>`;
}

/** Nothing here yet, and how there comes to be something. */
export const Empty = ({ icon = "inbox", title, children, acts }) => html`
  <div class="empty"><${Icon} name=${icon} /><h2>${title}</h2>${children}${acts && html`<div class="acts">${acts}</div>`}</div>`;

/** Grey lines where something will stand soon. */
export const Bones = ({ lines = 4 }) => html`
  <div class="bones" role="status"><span class="unseen">${t("Loading")}</span>${Array.from({ length: lines }, () => html`<i></i>`)}</div>`;

/** A time as people say it; the exact one when pointed at. */
export function Ago({ at }) {
  const now = useNow(10_000);
  if (at === null || at === undefined) return html`<span>–</span>`;
  return html`<time title=${stamp(at)} datetime=${new Date(at).toISOString()}>${ago(at, now)}</time>`;
}

/** When something comes next; what should have come is due now. */
export function Due({ at }) {
  const now = useNow(5_000);
  return at && Date.parse(at) <= now ? html`<span>${t("now")}</span>` : html`<${Ago} at=${at} />`;
}

/** The head of a page; `back` is a link to the list that it came from. */
export function Head({ title, about, back, children }) {
  useEffect(() => {
    document.title = `${title} · kling-relay`;
  }, [title]);
  return html`
    ${back && html`<a class="back" href=${back.href}><${Icon} name="back" />${back.title}</a>`}
    <div class="head"><div class="words"><h1>${title}</h1>${about && html`<p>${about}</p>`}</div>
      ${children && html`<div class="acts">${children}</div>`}</div>`;
}

/** A card with a head and what it holds. */
export const Card = ({ title, acts, flush = false, kind = "", children }) => html`
  <section class=${`card ${kind}`} aria-label=${title}>
    ${title && html`<header><h2>${title}</h2>${acts}</header>`}
    ${flush ? children : html`<div class="body">${children}</div>`}
  </section>`;

/** A choice of few, as tabs. */
export function Tabs({ label, value, options, onChange, kind = "" }) {
  const list = useRef(null);
  function move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = options.findIndex((option) => option.value === value);
    const next = options[(at + step + options.length) % options.length];
    onChange(next.value);
    list.current.querySelectorAll("button")[options.indexOf(next)].focus();
  }
  return html`<div class=${`tabs ${kind}`} role="tablist" aria-label=${label} onKeyDown=${move} ref=${list}>
    ${options.map((option) => html`<button type="button" role="tab" aria-selected=${option.value === value}
      tabindex=${option.value === value ? 0 : -1} onClick=${() => onChange(option.value)}>
      ${option.icon && html`<${Icon} name=${option.icon} />`}${option.title}</button>`)}
  </div>`;
}
