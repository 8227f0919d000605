// Try: a form for each kind of order, made from the rule book; the price, the command, and the task until it is done.
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { get, post } from "../lib/api.js";
import { EXAMPLES, HINTS, MODES, NAMES } from "../lib/fields.js";
import { useAction, useLoaded } from "../lib/hooks.js";
import { KINDS, operationOf, faultsOf, fieldsOf, modelsOf, orderOf, valuesOf } from "../lib/orders.js";
import { recallOrder, rememberOrder } from "../lib/memory.js";
import { go } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { t } from "../lib/i18n.js";
import { CameraField, isAvailable } from "../parts/camera.js";
import { ChoiceField, NumberField, TextField, ratio } from "../parts/fields.js";
import { Icon } from "../parts/icons.js";
import { PictureField } from "../parts/picture.js";
import { Price, SameByCurl } from "../parts/price.js";
import { Progress } from "../parts/progress.js";
import { Bones, Button, Failure, Head, KINDS as TITLES, Tabs } from "../parts/ui.js";

const ADVANCED = ["cfg_scale", "image_fidelity", "camera_control"];
const emptyForms = () => Object.fromEntries(KINDS.map((kind) => [kind, { chosen: {}, extras: {}, model: null }]));
// keeps the input while the user visits another page
let savedForms = emptyForms();

function fieldFor({ name, rule, chosen, choose, fault, values, takesPaste }) {
  const shared = {
    key: name,
    title: t(NAMES[name] || name),
    hint: HINTS[name] && t(HINTS[name]),
    rule,
    value: chosen[name],
    onChange: (value) => choose(name, value),
    fault,
  };
  switch (rule.type) {
    case "text":
      return html`<${TextField} ...${shared} isShort=${name !== "prompt"} />`;
    case "number":
      return html`<${NumberField} ...${shared} />`;
    case "picture":
      return html`<${PictureField} ...${shared} takesPaste=${takesPaste} />`;
    case "camera":
      return html`<${CameraField} ...${shared} fields=${values} />`;
    case "choice":
      return html`
      <${ChoiceField}
        ...${shared} draw=${name === "aspect_ratio" ? ratio : undefined}
        names=${
          name === "duration"
            ? Object.fromEntries(rule.values.map((value) => [value, t("{seconds} s", { seconds: value })]))
            : name === "mode"
              ? Object.fromEntries(Object.entries(MODES).map(([mode, title]) => [mode, t(title)]))
              : {}
        }
      />
    `;
    default:
      return null;
  }
}

function Examples({ kind, onPick }) {
  return html`
    <div class="examples">
      <span class="hint">${t("Examples")}</span>
      ${EXAMPLES[kind].map(
        (text) =>
          html`<button type="button" class="button small quiet" onClick=${() => onPick(t(text))}>${t(text)}</button>`,
      )}
    </div>
  `;
}

function Form({ rulebook, kind, form, onForm, faults, onSend, isBusy, error, price }) {
  const { chosen, extras } = form;
  const models = modelsOf(rulebook, kind);
  const model = form.model || models[0];
  const fields = fieldsOf(rulebook, kind, model);
  const values = valuesOf(fields, chosen);
  const choose = (name, value) => onForm({ ...form, chosen: { ...chosen, [name]: value } });
  const setExtra = (name, value) => onForm({ ...form, extras: { ...extras, [name]: value } });
  const refused = Object.fromEntries((error?.errors || []).map((entry) => [entry.field.split(".")[0], entry.detail]));
  const drawField = ([name, rule]) =>
    fieldFor({
      name,
      rule,
      chosen,
      choose,
      values,
      fault: faults[name] || refused[name],
      takesPaste: name === "image",
    });
  const advanced = fields.filter(([name]) => ADVANCED.includes(name));
  return html`
    <form class="card order" onSubmit=${(event) => {
      event.preventDefault();
      onSend();
    }} novalidate>
      <div class="body stack">
        ${
          models.length > 1 &&
          html`
            <${ChoiceField}
              title=${t("Model")} rule=${{ values: models, required: true, default: models[0] }} value=${model}
              onChange=${(value) => onForm({ ...form, model: value })}
            />
          `
        }
        ${fields
          .filter(([name]) => !ADVANCED.includes(name))
          .map(
            (entry) => html`
            ${drawField(entry)}
            ${
              entry[0] === "prompt" &&
              !chosen.prompt &&
              html`<${Examples} kind=${kind} onPick=${(text) => choose("prompt", text)} />`
            }
          `,
          )}
        <div>
          ${
            advanced.length > 0 &&
            html`
              <details class="more" open=${advanced.some(([name]) => chosen[name] !== undefined)}>
                <summary>
                  <${Icon} name="next" />
                  ${t("Advanced")}
                  <span class="optional">${t("guidance and camera movement")}</span>
                </summary>
                <div class="inner">${advanced.map(drawField)}</div>
              </details>
            `
          }
          <details class="more">
            <summary>
              <${Icon} name="next" />
              ${t("Integration")}
              <span class="optional">${t("callback URL and your own ID")}</span>
            </summary>
            <div class="inner">
              ${["notify_hook", "external_task_id"].map(
                (name) => html`
                  <${TextField}
                    key=${name} isSingleLine title=${t(NAMES[name])} hint=${t(HINTS[name])} value=${extras[name]}
                    onChange=${(value) => setExtra(name, value)} fault=${refused[name]}
                    placeholder=${name === "notify_hook" ? "https://example.com/hook" : "order-4711"}
                  />
                `,
              )}
            </div>
          </details>
        </div>
        <${Failure} error=${error} />
      </div>
      <footer class="send">
        ${price}
        <${Button} kind="main" type="submit" icon="send" isBusy=${isBusy}>${t("Submit")}<//>
      </footer>
    </form>
  `;
}

export function TryPage({ query }) {
  const [forms, setForms] = useState(savedForms);
  const [faults, setFaults] = useState({});
  const [task, setTask] = useState(recallOrder());
  const { key } = useSettings();
  const { value: rulebook, error: noBook, reload } = useLoaded((signal) => get("/v1/rulebook", {}, { signal }), [key]);
  const kind = KINDS.includes(query.get("kind")) ? query.get("kind") : "text2image";
  const form = forms[kind];
  useEffect(() => {
    savedForms = forms;
  }, [forms]);
  useEffect(() => setTask(recallOrder()), [key]);
  function follow(next) {
    rememberOrder(next);
    setTask(next);
  }
  const draft = useMemo(() => {
    if (!rulebook) return null;
    const model = form.model || modelsOf(rulebook, kind)[0];
    const fields = fieldsOf(rulebook, kind, model);
    const values = valuesOf(fields, form.chosen);
    const shownFields = fields.filter(([, rule]) => rule.type !== "camera" || isAvailable(rule, values));
    return {
      fields: shownFields,
      order: orderOf(shownFields, form.chosen, model, form.extras),
      operation: rulebook.operations[operationOf(kind)],
    };
  }, [rulebook, kind, form]);
  const send = useAction(async () => {
    const localFaults = faultsOf(draft.fields, form.chosen, draft.operation, t);
    setFaults(localFaults);
    if (Object.keys(localFaults).length) {
      requestAnimationFrame(() => document.querySelector('[aria-invalid="true"]')?.focus());
      return;
    }
    const answer = await post(`/kling/v1/${operationOf(kind)}`, draft.order);
    follow({ ...answer.data, kind });
    requestAnimationFrame(() =>
      document.querySelector(".progress")?.scrollIntoView({ block: "nearest", behavior: "smooth" }),
    );
  });
  function change(next) {
    setForms({ ...forms, [kind]: next });
    if (Object.keys(faults).length) setFaults({});
    if (send.error) send.reset();
  }
  return html`
    <${Head} title=${t("Try")} about=${t("Create an image or a video and watch its progress.")} />
    <${Tabs}
      label=${t("Order type")} value=${kind}
      onChange=${(next) => {
        setFaults({});
        send.reset();
        go("try", { kind: next }, { isSame: true });
      }}
      options=${KINDS.map((kindName) => ({ value: kindName, title: t(TITLES[kindName]), icon: kindName }))}
    />
    <div class="split">
      ${
        noBook
          ? html`<${Failure} error=${noBook} onAgain=${reload} />`
          : !draft
            ? html`<div class="card"><${Bones} lines=${7} /></div>`
            : html`
          <${Form}
            key=${kind} rulebook=${rulebook} kind=${kind} form=${form} onForm=${change} faults=${faults}
            error=${send.error} onSend=${send.run} isBusy=${send.isBusy}
            price=${html`<${Price} kind=${kind} order=${draft.order} />`}
          />
        `
      }
      <div class="aside stack">
        <${Progress} task=${task} onClose=${() => follow(null)} />
        ${draft && html`<${SameByCurl} kind=${kind} order=${draft.order} pictures=${form.chosen} />`}
      </div>
    </div>
  `;
}
