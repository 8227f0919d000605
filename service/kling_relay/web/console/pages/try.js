// Try it: a form for each kind of order, made from the rule book; the price, the command, and the task until it plays.
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { get, post } from "../lib/api.js";
import { EXAMPLES, HINTS, MODES, NAMES } from "../lib/fields.js";
import { useAct, useLoaded } from "../lib/hooks.js";
import { KINDS, operationOf, faultsOf, fieldsOf, modelsOf, orderOf, valuesOf } from "../lib/orders.js";
import { go } from "../lib/route.js";
import { useSettings } from "../lib/settings.js";
import { t } from "../lib/words.js";
import { CameraField, isTaken } from "../parts/camera.js";
import { ChoiceField, NumberField, TextField, ratio } from "../parts/fields.js";
import { Icon } from "../parts/icons.js";
import { PictureField } from "../parts/picture.js";
import { Price, SameByCurl } from "../parts/price.js";
import { Progress } from "../parts/progress.js";
import { Bones, Button, Failure, Head, KINDS as TITLES, Tabs } from "../parts/ui.js";

const UNDER = ["cfg_scale", "image_fidelity", "camera_control"];
const fresh = () => Object.fromEntries(KINDS.map((kind) => [kind, { chosen: {}, beside: {}, model: null }]));
// what was typed outlives a look at another page
let kept = fresh();

function fieldFor({ name, rule, chosen, choose, fault, values, takesPaste }) {
  const shared = { key: name, title: t(NAMES[name] || name), hint: HINTS[name] && t(HINTS[name]), rule, value: chosen[name], onChange: (value) => choose(name, value), fault };
  switch (rule.takes) {
    case "text": return html`<${TextField} ...${shared} isShort=${name !== "prompt"} />`;
    case "number": return html`<${NumberField} ...${shared} />`;
    case "picture": return html`<${PictureField} ...${shared} takesPaste=${takesPaste} />`;
    case "camera": return html`<${CameraField} ...${shared} fields=${values} />`;
    case "choice": return html`<${ChoiceField} ...${shared} draw=${name === "aspect_ratio" ? ratio : undefined}
      names=${name === "duration" ? Object.fromEntries(rule.of.map((each) => [each, t("{seconds} s", { seconds: each })]))
        : name === "mode" ? Object.fromEntries(Object.entries(MODES).map(([word, title]) => [word, t(title)])) : {}} />`;
    default: return null;
  }
}

function Examples({ kind, onPick }) {
  return html`<div class="examples"><span class="hint">${t("For example")}</span>
    ${EXAMPLES[kind].map((text) => html`<button type="button" class="button small quiet" onClick=${() => onPick(t(text))}>${t(text)}</button>`)}</div>`;
}

function Form({ rulebook, kind, form, onForm, faults, onSend, isBusy, error, price }) {
  const { chosen, beside } = form;
  const models = modelsOf(rulebook, kind);
  const model = form.model || models[0];
  const fields = fieldsOf(rulebook, kind, model);
  const values = valuesOf(fields, chosen);
  const choose = (name, value) => onForm({ ...form, chosen: { ...chosen, [name]: value } });
  const tell = (name, value) => onForm({ ...form, beside: { ...beside, [name]: value } });
  const told = Object.fromEntries((error?.errors || []).map((each) => [each.field.split(".")[0], each.detail]));
  const draw = ([name, rule]) => fieldFor({ name, rule, chosen, choose, values, fault: faults[name] || told[name], takesPaste: name === "image" });
  const under = fields.filter(([name]) => UNDER.includes(name));
  return html`<form class="card order" onSubmit=${(event) => { event.preventDefault(); onSend(); }} novalidate>
    <div class="body stack">
      ${models.length > 1 && html`<${ChoiceField} title=${t("Model")} rule=${{ of: models, required: true, default: models[0] }} value=${model}
        onChange=${(value) => onForm({ ...form, model: value })} />`}
      ${fields.filter(([name]) => !UNDER.includes(name)).map((each) => html`${draw(each)}
        ${each[0] === "prompt" && !chosen.prompt && html`<${Examples} kind=${kind} onPick=${(text) => choose("prompt", text)} />`}`)}
      <div>
        ${under.length > 0 && html`<details class="more" open=${under.some(([name]) => chosen[name] !== undefined)}>
          <summary><${Icon} name="next" />${t("Fine control")}<span class="optional">${t("how close, and how the camera moves")}</span></summary>
          <div class="inner">${under.map(draw)}</div></details>`}
        <details class="more"><summary><${Icon} name="next" />${t("Integration")}<span class="optional">${t("callback and your own id")}</span></summary>
          <div class="inner">${["notify_hook", "external_task_id"].map((name) => html`<${TextField} key=${name} one title=${t(NAMES[name])} hint=${t(HINTS[name])}
            value=${beside[name]} onChange=${(value) => tell(name, value)} fault=${told[name]} placeholder=${name === "notify_hook" ? "https://example.com/hook" : "order-4711"} />`)}</div></details>
      </div>
      <${Failure} error=${error} />
    </div>
    <footer class="send">${price}<${Button} kind="main" type="submit" icon="send" isBusy=${isBusy}>${t("Send the order")}<//></footer>
  </form>`;
}

export function TryPage({ query }) {
  const [forms, setForms] = useState(kept);
  const [faults, say] = useState({});
  const [task, watch] = useState(null);
  const { key } = useSettings();
  const { value: rulebook, error: noBook, reload } = useLoaded((signal) => get("/v1/rulebook", {}, { signal }), [key]);
  const kind = KINDS.includes(query.get("kind")) ? query.get("kind") : "text2image";
  const form = forms[kind];
  useEffect(() => { kept = forms; }, [forms]);
  const made = useMemo(() => {
    if (!rulebook) return null;
    const model = form.model || modelsOf(rulebook, kind)[0];
    const fields = fieldsOf(rulebook, kind, model);
    const values = valuesOf(fields, form.chosen);
    const fitting = fields.filter(([, rule]) => rule.takes !== "camera" || isTaken(rule, values));
    return { fields: fitting, order: orderOf(fitting, form.chosen, model, form.beside), operation: rulebook.operations[operationOf(kind)] };
  }, [rulebook, kind, form]);
  const send = useAct(async () => {
    const found = faultsOf(made.fields, form.chosen, made.operation, t);
    say(found);
    if (Object.keys(found).length) {
      requestAnimationFrame(() => document.querySelector('[aria-invalid="true"]')?.focus());
      return;
    }
    const answer = await post(`/kling/v1/${operationOf(kind)}`, made.order);
    watch({ ...answer.data, kind });
    requestAnimationFrame(() => document.querySelector(".progress")?.scrollIntoView({ block: "nearest", behavior: "smooth" }));
  });
  function change(next) {
    setForms({ ...forms, [kind]: next });
    if (Object.keys(faults).length) say({});
    if (send.error) send.forget();
  }
  return html`
    <${Head} title=${t("Try it")} about=${t("Order a picture or a video, and watch it come to be.")} />
    <${Tabs} label=${t("Kind of order")} value=${kind} onChange=${(next) => { say({}); send.forget(); go("try", { kind: next }, { isSame: true }); }}
      options=${KINDS.map((each) => ({ value: each, title: t(TITLES[each]), icon: each }))} />
    <div class="split">
      ${noBook ? html`<${Failure} error=${noBook} onAgain=${reload} />` : !made ? html`<div class="card"><${Bones} lines=${7} /></div>`
      : html`<${Form} key=${kind} rulebook=${rulebook} kind=${kind} form=${form} onForm=${change} faults=${faults} error=${send.error}
          onSend=${send.run} isBusy=${send.isBusy} price=${html`<${Price} kind=${kind} order=${made.order} />`} />`}
      <div class="aside stack">
        <${Progress} task=${task} onClose=${() => watch(null)} />
        ${made && html`<${SameByCurl} kind=${kind} order=${made.order} pictures=${form.chosen} />`}
      </div>
    </div>`;
}
