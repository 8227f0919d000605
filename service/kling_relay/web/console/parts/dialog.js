// Dialogs are the browser's own. They begin on their first field, keep the focus, and give it back to where it was.
// Toasts are short messages.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { Button, Failure, Notice } from "./ui.js";
import { useAction } from "../lib/hooks.js";

const FIELDS = ".body :is(input, select, textarea):not(:disabled)";
const STOPS = ":is(a[href], button, input, select, textarea, summary, [tabindex='0']):not(:disabled)";
// what had the focus before the first of several dialogs in a row
let opener = null;

/** Focus the first field, or the heading of a dialog without fields. */
function focusFirst(dialog) {
  const field = dialog.querySelector(FIELDS);
  const checked = field?.type === "radio" && dialog.querySelector(`input[name="${field.name}"]:checked`);
  (checked || field || dialog.querySelector("h2")).focus();
}

/** Give the focus back, or to the page if what had it is gone. */
function returnFocus(before) {
  (before?.isConnected && before !== document.body ? before : opener)?.focus();
  requestAnimationFrame(() => {
    if (document.activeElement === document.body) document.getElementById("content")?.focus({ preventScroll: true });
  });
}

/** Tab goes round inside the dialog. */
function keepFocus(event, dialog) {
  const stops = [...dialog.querySelectorAll(STOPS)].filter((stop) => stop.checkVisibility());
  const [first, last] = event.shiftKey ? [stops.at(-1), stops[0]] : [stops[0], stops.at(-1)];
  if (document.activeElement !== last && stops.includes(document.activeElement)) return;
  event.preventDefault();
  first?.focus();
}

/** A dialog that is open while it is rendered; with `onSubmit` it is a form. `onClose` is called on Escape, too. */
export function Dialog({ title, onClose, onSubmit, foot, children }) {
  const box = useRef(null);
  const isPressed = useRef(false);
  const isDone = useRef(false);
  useLayoutEffect(() => {
    const dialog = box.current;
    const active = document.activeElement;
    if (active && active !== document.body && !active.closest("dialog")) opener = active;
    dialog.showModal();
    focusFirst(dialog);
    return () => {
      isDone.current = true;
      dialog.close(); // everything outside an open dialog is inert and cannot have the focus
      returnFocus(active);
    };
  }, []);
  function submit(event) {
    event.preventDefault();
    onSubmit();
  }
  function press(event) {
    if (event.key === "Tab") keepFocus(event, box.current);
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    onClose();
  }
  /** The browser may close a dialog without asking, as on the second Escape; it stays open until it is removed. */
  function reopen() {
    if (isDone.current) return;
    box.current.showModal();
    onClose();
  }
  const inner = html`
    <header>
      <h2 tabindex="-1">${title}</h2>
      <${Button} kind="quiet icon" icon="close" label=${t("Close")} onClick=${onClose} />
    </header>
    <div class="body">${children}</div>
    ${foot && html`<footer>${foot}</footer>`}
  `;
  return html`<dialog ref=${box} aria-label=${title} onKeyDown=${press} onClose=${reopen}
      onCancel=${(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown=${(event) => (isPressed.current = event.target === box.current)}
      onClick=${(event) => isPressed.current && event.target === box.current && onClose()}>
    ${onSubmit ? html`<form onSubmit=${submit} novalidate>${inner}</form>` : html`<div class="sheet">${inner}</div>`}
  </dialog>`;
}

/** A confirmation before something that cannot be undone; `act` runs on yes. */
export function Confirm({ title, children, yes, act, onClose, kind = "main" }) {
  const { run, isBusy, error } = useAction(async () => {
    await act();
    onClose();
  });
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${run} foot=${html`
      <${Button} onClick=${onClose}>${t("Cancel")}<//>
      <${Button} kind=${kind} type="submit" isBusy=${isBusy}>${yes}<//>`}>
    ${children}<${Failure} error=${error} />
  <//>`;
}

let emit = () => {};

/** Show a message in the corner for a few seconds. */
export const toast = (text, kind = "good") => emit({ text, kind, at: Date.now() });

export function Toasts() {
  const [messages, setMessages] = useState([]);
  useEffect(() => {
    emit = (message) => {
      setMessages((before) => [...before.slice(-2), message]);
      setTimeout(() => setMessages((before) => before.filter((other) => other !== message)), 4500);
    };
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${messages.map(({ at, kind, text }) => html`<${Notice} key=${at} kind=${kind}>${text}<//>`)}</div>`;
}
