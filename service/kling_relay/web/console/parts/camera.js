// Camera control: a type; and for "simple" exactly one of six movements, so moving one slider sets the others to rest.
import { html, freshId, useMemo } from "../lib/html.js";
import { t } from "../lib/words.js";

const TYPES = {
  simple: ["Simple", "one movement of your choice"],
  down_back: ["Down and back", "the camera sinks and draws back"],
  forward_up: ["Forward and up", "the camera comes nearer and rises"],
  right_turn_forward: ["Turn right, forward", "it turns right, then comes nearer"],
  left_turn_forward: ["Turn left, forward", "it turns left, then comes nearer"],
};
const AXES = {
  horizontal: "Horizontal", vertical: "Vertical", pan: "Pan", tilt: "Tilt", roll: "Roll", zoom: "Zoom",
};

/** Whether the other fields let the camera be controlled. */
export const isTaken = (rule, fields) =>
  !rule.only.length || rule.only.some((wanted) => Object.entries(wanted).every(([name, value]) => fields[name] === value));

const cases = (rule) =>
  rule.only.map((wanted) => Object.entries(wanted).map(([name, value]) => `${t(name)} ${value}`).join(", ")).join(` ${t("or")} `);

export function CameraField({ rule, value, onChange, fields, fault }) {
  const name = useMemo(() => freshId("camera"), []);
  if (!isTaken(rule, fields)) return html`<p class="hint">${t("Camera control is taken only with {cases}.", { cases: cases(rule) })}</p>`;
  const type = value?.type;
  const moved = Object.entries(value?.config || {}).find(([, amount]) => amount !== 0) || [rule.axes[0], 0];
  const pick = (next) => onChange(next === null ? undefined : next === "simple" ? { type: next, config: {} } : { type: next });
  const move = (axis, amount) => onChange({ type: "simple", config: amount === 0 ? {} : { [axis]: amount } });
  return html`<fieldset class="field"><legend class="name">${t("Camera control")}</legend>
    <div class="choices">
      <label class="choice"><input type="radio" name=${name} checked=${!type} onChange=${() => pick(null)} /><span>${t("Auto")}</span></label>
      ${rule.types.map((each) => html`<label class="choice" title=${t(TYPES[each]?.[1] || each)}>
        <input type="radio" name=${name} checked=${type === each} onChange=${() => pick(each)} />
        <span>${t(TYPES[each]?.[0] || each)}</span></label>`)}
    </div>
    ${type === "simple" && html`<div class="axes">
      ${rule.axes.map((axis) => {
        const amount = moved[0] === axis ? moved[1] : 0;
        return html`<div class=${`slider${amount ? "" : " off"}`}>
          <label for=${`${name}-${axis}`}>${t(AXES[axis] || axis)}</label>
          <input id=${`${name}-${axis}`} type="range" min=${-rule.span} max=${rule.span} step="1" value=${amount}
            onInput=${(event) => move(axis, Number(event.target.value))} />
          <input type="number" min=${-rule.span} max=${rule.span} step="0.5" value=${amount} aria-label=${t(AXES[axis] || axis)}
            onChange=${(event) => move(axis, Number(event.target.value) || 0)} />
        </div>`;
      })}
      <span class="hint">${t("Exactly one of the six moves; the others rest.")}</span></div>`}
    ${type && type !== "simple" && html`<span class="hint">${t(TYPES[type]?.[1] || "")}</span>`}
    ${fault && html`<span class="fault" role="alert">${fault}</span>`}
  </fieldset>`;
}
