// Dialogs are the browser's own, which keep the focus inside and close on Escape. Toasts are short messages.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { Button, Failure, Notice } from "./ui.js";
import { useAction } from "../lib/hooks.js";

/** A dialog that is open while it is rendered; with `onSubmit` it is a form. */
export function Dialog({ title, onClose, onSubmit, foot, children }) {
  const box = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => before?.focus?.();
  }, []);
  function submit(event) {
    event.preventDefault();
    onSubmit();
  }
  const inner = html`
    <header>
      <h2>${title}</h2>
      <${Button} kind="quiet icon" icon="close" label=${t("Close")} onClick=${onClose} />
    </header>
    <div class="body">${children}</div>
    ${foot && html`<footer>${foot}</footer>`}
  `;
  return html`<dialog ref=${box} aria-label=${title} onCancel=${(event) => {
    event.preventDefault();
    onClose();
  }}
      onClick=${(event) => event.target === box.current && onClose()}>
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
