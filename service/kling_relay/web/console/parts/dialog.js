// Dialogs: the browser's own, so that focus stays inside and Escape closes them. Toasts: a word in the corner.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { t } from "../lib/words.js";
import { Button, Failure, Notice } from "./ui.js";
import { useAct } from "../lib/hooks.js";

/** A dialog that is open for as long as it is drawn; `onSubmit` makes it a form. */
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
    <header><h2>${title}</h2><${Button} kind="quiet icon" icon="close" label=${t("Close")} onClick=${onClose} /></header>
    <div class="body">${children}</div>
    ${foot && html`<footer>${foot}</footer>`}`;
  return html`<dialog ref=${box} aria-label=${title} onCancel=${(event) => { event.preventDefault(); onClose(); }}
      onClick=${(event) => event.target === box.current && onClose()}>
    ${onSubmit ? html`<form onSubmit=${submit} novalidate>${inner}</form>` : html`<div class="sheet">${inner}</div>`}
  </dialog>`;
}

/** A question before something that cannot be undone; `act` is done on yes. */
export function Sure({ title, children, yes, act, onClose, kind = "main" }) {
  const { run, isBusy, error } = useAct(async () => {
    await act();
    onClose();
  });
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${run} foot=${html`
      <${Button} onClick=${onClose}>${t("Cancel")}<//>
      <${Button} kind=${kind} type="submit" isBusy=${isBusy}>${yes}<//>`}>
    ${children}<${Failure} error=${error} />
  <//>`;
}

let tell = () => {};

/** Say something in the corner for a few seconds. */
export const toast = (text, kind = "good") => tell({ text, kind, at: Date.now() });

export function Toasts() {
  const [shown, show] = useState([]);
  useEffect(() => {
    tell = (one) => {
      show((before) => [...before.slice(-2), one]);
      setTimeout(() => show((before) => before.filter((each) => each !== one)), 4500);
    };
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${shown.map((one) => html`<${Notice} key=${one.at} kind=${one.kind}>${one.text}<//>`)}</div>`;
}
