// Making and changing a subscription, and showing its secret: once.
import { html, useState } from "../lib/html.js";
import { patch, post } from "../lib/api.js";
import { useAct } from "../lib/hooks.js";
import { t } from "../lib/words.js";
import { Dialog } from "./dialog.js";
import { ChoiceField, TextField } from "./fields.js";
import { Icon } from "./icons.js";
import { Button, Code, Failure, Notice } from "./ui.js";

const EVENTS = [
  ["task.submitted", "the provider took the order"], ["task.processing", "the provider works on it"],
  ["task.succeed", "it is done, with its results"], ["task.failed", "it failed, with the reason"],
  ["subscription.disabled", "one of your addresses is no longer told"], ["budget.threshold", "a budget is nearly used up"],
];
const FORMATS = { standard: "Standard", kling: "Kling", cloudevents: "CloudEvents" };
const FORMAT_HINTS = {
  standard: "{type, timestamp, data}: the form of Standard Webhooks.", kling: "Kling's own flat callback body.",
  cloudevents: "CloudEvents 1.0, structured.",
};
const ORDERINGS = { none: "As fast as possible", task: "In order, per task" };

/** Write headers as lines "Name: value", and read them back; null where a line has no colon. */
export const linesOf = (headers) => Object.entries(headers || {}).map(([name, value]) => `${name}: ${value}`).join("\n");
export function headersOf(lines) {
  const found = {};
  for (const line of lines.split("\n").map((each) => each.trim()).filter(Boolean)) {
    const at = line.indexOf(":");
    if (at < 1) return null;
    found[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return found;
}

function EventsField({ value, onChange }) {
  const isAll = value.includes("*");
  const toggle = (type) => onChange(value.includes(type) ? value.filter((each) => each !== type) : [...value.filter((each) => each !== "*"), type]);
  return html`<fieldset class="field"><legend class="name">${t("Events")}</legend>
    <div class="checks"><label class="check"><input type="checkbox" checked=${isAll} onChange=${() => onChange(isAll ? ["task.succeed", "task.failed"] : ["*"])} /><span>${t("Everything")} <code>*</code></span></label>
      ${!isAll && EVENTS.map(([type, says]) => html`<label class="check"><input type="checkbox" checked=${value.includes(type) || value.includes(`${type.split(".")[0]}.*`)} onChange=${() => toggle(type)} />
        <span><code>${type}</code> <span class="hint">${t(says)}</span></span></label>`)}</div></fieldset>`;
}

/** The form; `of` is the subscription to change, or nothing for a new one. */
export function Create({ of, onClose, onMade }) {
  const [wish, set] = useState({
    url: of?.url || "", events: of?.events || ["*"], description: of?.description || "", format: of?.format || "standard",
    ordering: of?.ordering || "none", headers: linesOf(of?.headers), max_in_flight: String(of?.max_in_flight || 10),
  });
  const [wrong, say] = useState({});
  const { run, isBusy, error } = useAct(async () => {
    const headers = headersOf(wish.headers);
    const faults = {
      ...(/^https?:\/\/[^\s/]+/.test(wish.url.trim()) ? {} : { url: t("It begins with http:// or https://.") }),
      ...(headers ? {} : { headers: t("One header a line, as Name: value.") }),
      ...(wish.events.length ? {} : { events: t("Choose at least one.") }),
    };
    say(faults);
    if (Object.keys(faults).length) return;
    const body = { ...wish, url: wish.url.trim(), headers, max_in_flight: Number(wish.max_in_flight) };
    onMade(await (of ? patch(`/v1/subscriptions/${of.id}`, body) : post("/v1/subscriptions", body)));
  });
  const told = Object.fromEntries((error?.errors || []).map((each) => [each.field.split(".")[0], each.detail]));
  const field = (name) => ({ value: wish[name], onChange: (value) => set({ ...wish, [name]: value }), fault: wrong[name] || told[name] });
  return html`<${Dialog} title=${of ? t("Change the subscription") : t("New subscription")} onClose=${onClose} onSubmit=${run} foot=${html`
      <${Button} onClick=${onClose}>${t("Cancel")}<//><${Button} kind="main" type="submit" isBusy=${isBusy}>${of ? t("Save") : t("Subscribe")}<//>`}>
    <${TextField} one type="url" title=${t("Address")} rule=${{ required: true }} placeholder="https://example.com/webhooks/kling" ...${field("url")} />
    <${EventsField} value=${wish.events} onChange=${field("events").onChange} />
    ${wrong.events && html`<span class="fault" role="alert">${wrong.events}</span>`}
    <${ChoiceField} title=${t("Format")} rule=${{ of: Object.keys(FORMATS), default: "standard", required: true }} names=${FORMATS} hint=${t(FORMAT_HINTS[wish.format])} ...${field("format")} />
    <${TextField} one title=${t("Description")} ...${field("description")} />
    <details class="more" open=${Boolean(wish.headers) || wish.ordering !== "none"}><summary><${Icon} name="next" />${t("Delivery")}<span class="optional">${t("order, pace and headers")}</span></summary>
      <div class="inner">
        <${ChoiceField} title=${t("Order")} rule=${{ of: ["none", "task"], default: "none", required: true }} names=${Object.fromEntries(Object.entries(ORDERINGS).map(([word, title]) => [word, t(title)]))} ...${field("ordering")} />
        <${TextField} one type="number" title=${t("At once, at most")} rule=${{ required: true }} hint=${t("From 1 to 100 deliveries.")} ...${field("max_in_flight")} />
        <${TextField} isShort title=${t("Headers")} placeholder="Authorization: Bearer …" hint=${t("One header a line, as Name: value.")} ...${field("headers")} />
      </div></details>
    <${Failure} error=${error} />
  <//>`;
}

/** A secret, which is never shown again. */
export const SecretOnce = ({ secret, until, onClose }) => html`
  <${Dialog} title=${t("The signing secret")} onClose=${onClose} foot=${html`<${Button} kind="main" onClick=${onClose}>${t("I have kept it")}<//>`}>
    <${Notice} kind="wait" icon="key"><p><strong>${t("It is shown this once.")}</strong> ${t("Keep it where your subscriber reads its secrets.")}</p><//>
    <${Code} text=${secret} label=${t("The signing secret")} />
    <p class="hint">${t("Every delivery is signed by Standard Webhooks. Verify it before you believe it:")}</p>
    <${Code} text=${`from standardwebhooks import Webhook\n\nWebhook(secret).verify(body, headers)   # raises where it is forged`} />
    ${until && html`<p class="hint">${t("Until then the old secret signs too:")} ${until}</p>`}
  <//>`;
