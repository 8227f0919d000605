// Camera control: a type, and for "simple" exactly one of six axes, so moving one slider resets the others.
import { html, freshId, useMemo } from "../lib/html.js";
import { t } from "../lib/i18n.js";

const TYPES = {
  __proto__: null,
  simple: ["Simple", "one axis of your choice"],
  down_back: ["Down and back", "moves down and back"],
  forward_up: ["Forward and up", "moves forward and up"],
  right_turn_forward: ["Right turn, forward", "turns right, then moves forward"],
  left_turn_forward: ["Left turn, forward", "turns left, then moves forward"],
};
const AXES = {
  __proto__: null,
  horizontal: "Horizontal",
  vertical: "Vertical",
  pan: "Pan",
  tilt: "Tilt",
  roll: "Roll",
  zoom: "Zoom",
};

/** Whether the other fields allow camera control. */
export const isAvailable = (rule, fields) =>
  !rule.only.length ||
  rule.only.some((condition) => Object.entries(condition).every(([name, value]) => fields[name] === value));

const cases = (rule) =>
  rule.only
    .map((condition) =>
      Object.entries(condition)
        .map(([name, value]) => `${t(name)} ${value}`)
        .join(", "),
    )
    .join(` ${t("or")} `);

export function CameraField({ rule, value, onChange, fields, fault }) {
  const name = useMemo(() => freshId("camera"), []);
  if (!isAvailable(rule, fields))
    return html`<p class="hint">${t("Camera control needs {cases}.", { cases: cases(rule) })}</p>`;
  const type = value?.type;
  const movement = Object.entries(value?.config || {}).find(([, amount]) => amount !== 0) || [rule.axes[0], 0];
  const pick = (next) =>
    onChange(next === null ? undefined : next === "simple" ? { type: next, config: {} } : { type: next });
  const move = (axis, amount) => onChange({ type: "simple", config: amount === 0 ? {} : { [axis]: amount } });
  return html`
    <fieldset class="field">
      <legend class="name">${t("Camera control")}</legend>
      <div class="choices">
        <label class="choice">
          <input type="radio" name=${name} checked=${!type} onChange=${() => pick(null)} />
          <span>${t("Auto")}</span>
        </label>
        ${rule.types.map(
          (option) => html`
            <label class="choice" title=${t(TYPES[option]?.[1] || option)}>
              <input type="radio" name=${name} checked=${type === option} onChange=${() => pick(option)} />
              <span>${t(TYPES[option]?.[0] || option)}</span>
            </label>
          `,
        )}
      </div>
      ${
        type === "simple" &&
        html`
          <div class="axes">
            ${rule.axes.map((axis) => {
              const amount = movement[0] === axis ? movement[1] : 0;
              return html`
                <div class=${`slider${amount ? "" : " off"}`}>
                  <label for=${`${name}-${axis}`}>${t(AXES[axis] || axis)}</label>
                  <input
                    id=${`${name}-${axis}`} type="range" min=${-rule.span} max=${rule.span} step="1" value=${amount}
                    onInput=${(event) => move(axis, Number(event.target.value))}
                  />
                  <input
                    type="number" min=${-rule.span} max=${rule.span} step="0.5" value=${amount}
                    aria-label=${t(AXES[axis] || axis)}
                    onChange=${(event) => move(axis, Number(event.target.value) || 0)}
                  />
                </div>
              `;
            })}
            <span class="hint">${t("Only one axis can be used. Moving a slider resets the others.")}</span>
          </div>
        `
      }
      ${type && type !== "simple" && html`<span class="hint">${t(TYPES[type]?.[1] || "")}</span>`}
      ${fault && html`<span class="fault" role="alert">${fault}</span>`}
    </fieldset>
  `;
}
