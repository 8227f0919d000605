// Dialogs that create or edit a subscription and show its secret once.
import { html, useEffect, useState } from "../lib/html.js";
import { patch, post } from "../lib/api.js";
import { useAction } from "../lib/hooks.js";
import { t } from "../lib/i18n.js";
import { Dialog } from "./dialog.js";
import { ChoiceField, TextField } from "./fields.js";
import { Icon } from "./icons.js";
import { Button, Code, Failure, Notice } from "./ui.js";

const EVENTS = [
  ["task.submitted", "accepted by the provider"],
  ["task.processing", "being generated"],
  ["task.succeed", "finished, with results"],
  ["task.failed", "failed, with the reason"],
  ["subscription.disabled", "a subscription was disabled"],
  ["budget.threshold", "a budget is almost used up"],
];
const EXAMPLE = `from standardwebhooks import Webhook

Webhook(secret).verify(body, headers)  # raises if it is forged`;
const FORMATS = { standard: "Standard", kling: "Kling", cloudevents: "CloudEvents" };
const FORMAT_HINTS = {
  standard: "Standard Webhooks: {type, timestamp, data}",
  kling: "Kling's callback body",
  cloudevents: "CloudEvents 1.0, structured mode",
};
const ORDERINGS = { none: "As fast as possible", task: "In order per task" };

/** Write headers as lines "Name: value", and read them back; null if a line has no colon. */
export const linesOf = (headers) =>
  Object.entries(headers || {})
    .map(([name, value]) => `${name}: ${value}`)
    .join("\n");
export function headersOf(lines) {
  const headers = Object.create(null);
  for (const line of lines
    .split("\n")
    .map((text) => text.trim())
    .filter(Boolean)) {
    const at = line.indexOf(":");
    if (at < 1) return null;
    headers[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return headers;
}

function EventsField({ value, onChange }) {
  const isAll = value.includes("*");
  const toggle = (type) =>
    onChange(
      value.includes(type)
        ? value.filter((other) => other !== type)
        : [...value.filter((other) => other !== "*"), type],
    );
  return html`
    <fieldset class="field">
      <legend class="name">${t("Events")}</legend>
      <div class="checks">
        <label class="check">
          <input
            type="checkbox" checked=${isAll} onChange=${() => onChange(isAll ? ["task.succeed", "task.failed"] : ["*"])}
          />
          <span>${t("All events")} <code>*</code></span>
        </label>
        ${
          !isAll &&
          EVENTS.map(
            ([type, meaning]) => html`
            <label class="check">
              <input
                type="checkbox" checked=${value.includes(type) || value.includes(`${type.split(".")[0]}.*`)}
                onChange=${() => toggle(type)}
              />
              <span><code>${type}</code> <span class="hint">${t(meaning)}</span></span>
            </label>
          `,
          )
        }
      </div>
    </fieldset>
  `;
}

/** The form; without a `subscription` it creates a new one. */
export function Create({ subscription, onClose, onMade }) {
  const [form, setForm] = useState({
    url: subscription?.url || "",
    events: subscription?.events || ["*"],
    description: subscription?.description || "",
    format: subscription?.format || "standard",
    ordering: subscription?.ordering || "none",
    headers: linesOf(subscription?.headers),
    max_in_flight: String(subscription?.max_in_flight || 10),
  });
  const [ownFaults, setOwnFaults] = useState({});
  const { run, isBusy, error } = useAction(async () => {
    const headers = headersOf(form.headers);
    const faults = {
      ...(/^https?:\/\/[^\s/]+/.test(form.url.trim())
        ? {}
        : { url: t("The URL must start with http:// or https://.") }),
      ...(headers ? {} : { headers: t("One header per line, as Name: value.") }),
      ...(form.events.length ? {} : { events: t("Select at least one event.") }),
    };
    setOwnFaults(faults);
    if (Object.keys(faults).length) return;
    const body = { ...form, url: form.url.trim(), headers, max_in_flight: Number(form.max_in_flight) };
    onMade(
      await (subscription ? patch(`/v1/subscriptions/${subscription.id}`, body) : post("/v1/subscriptions", body)),
    );
  });
  const refused = Object.fromEntries((error?.errors || []).map((entry) => [entry.field.split(".")[0], entry.detail]));
  const field = (name) => ({
    value: form[name],
    onChange: (value) => setForm({ ...form, [name]: value }),
    fault: ownFaults[name] || refused[name],
  });
  return html`
    <${Dialog}
      title=${subscription ? t("Edit subscription") : t("New subscription")} onClose=${onClose} onSubmit=${run}
      foot=${html`
        <${Button} onClick=${onClose}>${t("Cancel")}<//>
        <${Button} kind="main" type="submit" isBusy=${isBusy}>${subscription ? t("Save") : t("Create")}<//>
      `}
    >
      <${TextField}
        isSingleLine type="url" title=${t("URL")} rule=${{ required: true }}
        placeholder="https://example.com/webhooks/kling" ...${field("url")}
      />
      <${EventsField} value=${form.events} onChange=${field("events").onChange} />
      ${ownFaults.events && html`<span class="fault" role="alert">${ownFaults.events}</span>`}
      <${ChoiceField}
        title=${t("Format")} rule=${{ values: Object.keys(FORMATS), default: "standard", required: true }}
        names=${FORMATS} hint=${t(FORMAT_HINTS[form.format])} ...${field("format")}
      />
      <${TextField} isSingleLine title=${t("Description")} ...${field("description")} />
      <details class="more" open=${Boolean(form.headers) || form.ordering !== "none"}>
        <summary>
          <${Icon} name="next" />
          ${t("Delivery")}
          <span class="optional">${t("ordering, concurrency and headers")}</span>
        </summary>
        <div class="inner">
          <${ChoiceField}
            title=${t("Ordering")} rule=${{ values: ["none", "task"], default: "none", required: true }}
            names=${Object.fromEntries(Object.entries(ORDERINGS).map(([name, title]) => [name, t(title)]))}
            ...${field("ordering")}
          />
          <${TextField}
            isSingleLine type="number" title=${t("Concurrency")} rule=${{ required: true }}
            hint=${t("1 to 100 deliveries at a time")} ...${field("max_in_flight")}
          />
          <${TextField}
            isShort title=${t("Headers")} placeholder="Authorization: Bearer …"
            hint=${t("One header per line, as Name: value.")} ...${field("headers")}
          />
        </div>
      </details>
      <${Failure} error=${error} />
    <//>
  `;
}

/** The secret, which is shown only once: it stays until the user says that it is saved, or gives it up. */
function SecretOnce({ secret, until, onClose }) {
  const [isAsked, setIsAsked] = useState(false);
  useEffect(() => {
    const ask = (event) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, []);
  return html`
    <${Dialog}
      title=${t("Signing secret")} onClose=${() => setIsAsked(true)}
      foot=${html`
        ${isAsked && html`<${Button} kind="danger" onClick=${onClose}>${t("Close without saving")}<//>`}
        <${Button} kind="main" onClick=${onClose}>${t("I have saved it")}<//>
      `}
    >
      ${
        isAsked &&
        html`
          <${Notice} kind="bad" role="alert">
            <p><strong>${t("Have you saved the secret?")}</strong> ${t("It cannot be shown again.")}</p>
          <//>
        `
      }
      <${Notice} kind="wait" icon="key">
        <p><strong>${t("It is shown only once.")}</strong> ${t("Store it with the secrets of your receiver.")}</p>
      <//>
      <${Code} text=${secret} label=${t("Signing secret")} />
      <p class="hint">
        ${t("Every delivery is signed (Standard Webhooks). Verify the signature before you trust it:")}
      </p>
      <${Code} text=${EXAMPLE} />
      ${until && html`<p class="hint">${t("The old secret also remains valid until:")} ${until}</p>`}
    <//>
  `;
}

let show = () => {};

/** Show a secret, `{secret, until}`, over whatever page is open. */
export const reveal = (secret) => show(secret);

/** The secret that is being shown. It belongs to the frame, so that leaving a page does not lose it. */
export function Secret() {
  const [secret, setSecret] = useState(null);
  useEffect(() => {
    show = setSecret;
  }, []);
  return secret && html`<${SecretOnce} ...${secret} onClose=${() => setSecret(null)} />`;
}
