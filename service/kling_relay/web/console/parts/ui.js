// Small components that every page uses.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { ago, stamp } from "../lib/format.js";
import { useNow } from "../lib/hooks.js";
import { link } from "../lib/route.js";
import { t } from "../lib/i18n.js";
import { Icon } from "./icons.js";

const STATUSES = {
  __proto__: null,
  submitted: "Submitted",
  processing: "Processing",
  succeed: "Succeeded",
  failed: "Failed",
  active: "Active",
  paused: "Paused",
  disabled: "Disabled",
  failing: "Failing",
  pending: "Pending",
  delivered: "Delivered",
  exhausted: "Given up",
};

/** A status as a coloured pill. */
export const Status = ({ status, moving = false }) =>
  html`<span class=${`pill ${status}${moving ? " moving" : ""}`}>${t(STATUSES[status] || status)}</span>`;

export const KINDS = {
  __proto__: null,
  text2image: "Text to image",
  image2image: "Image to image",
  text2video: "Text to video",
  image2video: "Image to video",
};

/** A button; while `isBusy` it shows a spinner and is disabled. */
export function Button({ icon, kind = "", isBusy = false, children, disabled, type = "button", label, ...rest }) {
  return html`<button type=${type} class=${`button ${kind}`} disabled=${disabled || isBusy} aria-busy=${isBusy}
    aria-label=${label} title=${label} ...${rest}>
    ${isBusy ? html`<span class="spin" aria-hidden="true"></span>` : icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** A copy button that shows a check mark for a moment. */
export function Copy({ text, label = t("Copy"), kind = "quiet small icon copy" }) {
  const [isDone, setIsDone] = useState(false);
  useEffect(() => {
    if (!isDone) return undefined;
    const timer = setTimeout(() => setIsDone(false), 1600);
    return () => clearTimeout(timer);
  }, [isDone]);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setIsDone(true);
    } catch {
      /* no permission: the text can still be selected */
    }
  }
  return html`<${Button} icon=${isDone ? "check" : "copy"} kind=${`${kind}${isDone ? " done" : ""}`} onClick=${copy}
    label=${isDone ? t("Copied") : label} />`;
}

/** Code with a copy button. */
export const Code = ({ text, shown = text, label }) =>
  html`
  <div class="code"><pre tabindex="0" aria-label=${label || t("Code")}>${shown}</pre><${Copy} text=${text} /></div>`;

/** A notice; `kind` is calm, good, wait or bad. */
export const Notice = ({ kind = "calm", icon, role, acts, children }) =>
  html`
  <div class=${`notice ${kind}`} role=${role}>
    <${Icon} name=${icon || { bad: "bad", wait: "bad", good: "good" }[kind] || "note"} />
    <div class="words">${children}</div>${acts}
  </div>`;

/** An error: what happened, which fields are wrong, and what to do. */
export function Failure({ error, onAgain }) {
  if (!error) return null;
  const isKey = error.status === 401;
  const page = location.hash.replace(/^#\/?/, "");
  return html`
    <${Notice}
      kind="bad" role="alert"
      acts=${html`
        ${
          isKey &&
          !page.startsWith("settings") &&
          html`<a class="button small" href=${link("settings", { next: page })}>${t("Settings")}</a>`
        }
        ${onAgain && !isKey && html`<${Button} kind="small" icon="again" onClick=${onAgain}>${t("Retry")}<//>`}
      `}
    >
      <p><strong>${error.message}</strong></p>
      ${error.advice && html`<p>${error.advice}</p>`}
      ${
        error.errors?.length > 1 &&
        html`<ul>${error.errors.map((entry) => html`<li><code>${entry.field}</code> ${entry.detail}</li>`)}</ul>`
      }
    <//>
  `;
}

/** An empty state with a way forward. */
export const Empty = ({ icon = "inbox", title, children, acts }) => html`
  <div class="empty">
    <${Icon} name=${icon} />
    ${title && html`<h2>${title}</h2>`}
    ${children}
    ${acts && html`<div class="acts">${acts}</div>`}
  </div>
`;

/** Grey lines while something loads. */
export const Bones = ({ lines = 4 }) => html`
  <div class="bones" role="status">
    <span class="unseen">${t("Loading")}</span>
    ${Array.from({ length: lines }, () => html`<i></i>`)}
  </div>
`;

/** A relative time with the exact one as its tooltip. */
export function Ago({ at }) {
  const now = useNow(10_000);
  if (at === null || at === undefined) return html`<span>–</span>`;
  return html`<time title=${stamp(at)} datetime=${new Date(at).toISOString()}>${ago(at, now)}</time>`;
}

/** When something is due; a time in the past is "now". */
export function Due({ at }) {
  const now = useNow(5_000);
  return at && Date.parse(at) <= now ? html`<span>${t("due now")}</span>` : html`<${Ago} at=${at} />`;
}

/** The head of a page; `back` links to the list. */
export function Head({ title, about, back, children }) {
  useEffect(() => {
    document.title = `${title} · kling-relay`;
  }, [title]);
  return html`
    ${back && html`<a class="back" href=${back.href}><${Icon} name="back" />${back.title}</a>`}
    <div class="head"><div class="words"><h1>${title}</h1>${about && html`<p>${about}</p>`}</div>
      ${children && html`<div class="acts">${children}</div>`}</div>`;
}

/** A card with a title. */
export const Card = ({ title, acts, flush = false, kind = "", children }) =>
  html`
  <section class=${`card ${kind}`} aria-label=${title}>
    ${title && html`<header><h2>${title}</h2>${acts}</header>`}
    ${flush ? children : html`<div class="body">${children}</div>`}
  </section>`;

/** A small set of options, as tabs. */
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
    ${options.map(
      (option) =>
        html`<button type="button" role="tab" aria-selected=${option.value === value}
      tabindex=${option.value === value ? 0 : -1} onClick=${() => onChange(option.value)}>
      ${option.icon && html`<${Icon} name=${option.icon} />`}${option.title}</button>`,
    )}
  </div>`;
}
