// Dialogs of a subscription: replay events, and rotate the secret.
import { html, useState } from "../lib/html.js";
import { post } from "../lib/api.js";
import { number } from "../lib/format.js";
import { useAction } from "../lib/hooks.js";
import { t } from "../lib/i18n.js";
import { Dialog, toast } from "./dialog.js";
import { ChoiceField } from "./fields.js";
import { Button, Failure } from "./ui.js";

const HOURS = { 1: "Last hour", 24: "Last 24 hours", 168: "Last 7 days", 720: "Last 30 days" };
const ONLY = { failed: "Failed only", all: "All events" };
const OVERLAPS = { 0: "Immediately", 3600: "In an hour", 86400: "In a day", 604800: "In a week" };

const translated = (table) => Object.fromEntries(Object.entries(table).map(([name, title]) => [name, t(title)]));

export function Replay({ id, onClose, onDone }) {
  const [hours, setHours] = useState("24");
  const [only, setOnly] = useState("failed");
  const { run, isBusy, error } = useAction(async () => {
    const since = new Date(Date.now() - Number(hours) * 3600e3).toISOString();
    const { count } = await post(`/v1/subscriptions/${id}/replay`, { since, only });
    toast(
      count ? t("{count} deliveries were queued again.", { count: number(count) }) : t("There was nothing to replay."),
    );
    onClose();
    onDone();
  });
  return html`
    <${Dialog}
      title=${t("Replay")} onClose=${onClose} onSubmit=${run}
      foot=${html`
        <${Button} onClick=${onClose}>${t("Cancel")}<//>
        <${Button} kind="main" type="submit" isBusy=${isBusy}>${t("Replay")}<//>
      `}
    >
      <p>
        ${t("Events of this period are delivered again with the same webhook-id, so subscribers can skip duplicates.")}
      </p>
      <${ChoiceField}
        title=${t("Deliveries")} rule=${{ values: Object.keys(ONLY), default: "failed", required: true }}
        names=${translated(ONLY)} value=${only} onChange=${setOnly}
      />
      <${ChoiceField}
        title=${t("Period")} rule=${{ values: Object.keys(HOURS), default: "24", required: true }}
        names=${translated(HOURS)} value=${hours} onChange=${setHours}
      />
      <${Failure} error=${error} />
    <//>
  `;
}

export function Rotate({ id, onClose, onMade }) {
  const [seconds, setSeconds] = useState("86400");
  const { run, isBusy, error } = useAction(async () =>
    onMade(await post(`/v1/subscriptions/${id}/rotate-secret`, { overlap_seconds: Number(seconds) })),
  );
  return html`
    <${Dialog}
      title=${t("New secret")} onClose=${onClose} onSubmit=${run}
      foot=${html`
        <${Button} onClick=${onClose}>${t("Cancel")}<//>
        <${Button} kind="main" type="submit" isBusy=${isBusy}>${t("Create secret")}<//>
      `}
    >
      <p>
        ${t(
          "Until the old secret expires, every delivery carries both signatures, so you can switch without failures.",
        )}
      </p>
      <${ChoiceField}
        title=${t("Old secret expires")} rule=${{ values: Object.keys(OVERLAPS), default: "86400", required: true }}
        names=${translated(OVERLAPS)} value=${seconds} onChange=${setSeconds}
      />
      <${Failure} error=${error} />
    <//>
  `;
}
