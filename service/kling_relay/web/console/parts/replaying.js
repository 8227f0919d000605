// What is done to a subscription with a question first: events sent again, and a secret made anew.
import { html, useState } from "../lib/html.js";
import { post } from "../lib/api.js";
import { number } from "../lib/format.js";
import { useAct } from "../lib/hooks.js";
import { t } from "../lib/words.js";
import { Dialog, toast } from "./dialog.js";
import { ChoiceField } from "./fields.js";
import { Button, Failure } from "./ui.js";

const HOURS = { 1: "The last hour", 24: "The last day", 168: "The last week", 720: "The last month" };
const ONLY = { failed: "What failed", all: "Everything" };
const OVERLAPS = { 0: "At once", 3600: "In an hour", 86400: "In a day", 604800: "In a week" };

const named = (table) => Object.fromEntries(Object.entries(table).map(([word, title]) => [word, t(title)]));

export function Replay({ id, onClose, onDone }) {
  const [hours, back] = useState("24");
  const [only, take] = useState("failed");
  const { run, isBusy, error } = useAct(async () => {
    const since = new Date(Date.now() - Number(hours) * 3600e3).toISOString();
    const { count } = await post(`/v1/subscriptions/${id}/replay`, { since, only });
    toast(count ? t("{count} deliveries are made again.", { count: number(count) }) : t("There was nothing to deliver again."));
    onClose();
    onDone();
  });
  return html`<${Dialog} title=${t("Replay")} onClose=${onClose} onSubmit=${run} foot=${html`<${Button} onClick=${onClose}>${t("Cancel")}<//><${Button} kind="main" type="submit" isBusy=${isBusy}>${t("Replay")}<//>`}>
    <p>${t("Events of that time are delivered again under the same webhook-id, so that a subscriber that knows it already can pass it over.")}</p>
    <${ChoiceField} title=${t("What")} rule=${{ of: Object.keys(ONLY), default: "failed", required: true }} names=${named(ONLY)} value=${only} onChange=${take} />
    <${ChoiceField} title=${t("Of which time")} rule=${{ of: Object.keys(HOURS), default: "24", required: true }} names=${named(HOURS)} value=${hours} onChange=${back} />
    <${Failure} error=${error} /><//>`;
}

export function Rotate({ id, onClose, onMade }) {
  const [seconds, overlap] = useState("86400");
  const { run, isBusy, error } = useAct(async () => onMade(await post(`/v1/subscriptions/${id}/rotate-secret`, { overlap_seconds: Number(seconds) })));
  return html`<${Dialog} title=${t("A new secret")} onClose=${onClose} onSubmit=${run} foot=${html`<${Button} onClick=${onClose}>${t("Cancel")}<//><${Button} kind="main" type="submit" isBusy=${isBusy}>${t("Make it")}<//>`}>
    <p>${t("Until the old one ends, every delivery carries a signature of each, so that nothing is refused while you change over.")}</p>
    <${ChoiceField} title=${t("The old one ends")} rule=${{ of: Object.keys(OVERLAPS), default: "86400", required: true }} names=${named(OVERLAPS)} value=${seconds} onChange=${overlap} />
    <${Failure} error=${error} /><//>`;
}
