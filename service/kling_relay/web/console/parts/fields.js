// Fields of an order, each rendered from its rule in the rule book. A field without a value is not sent.
import { html, freshId, useMemo } from "../lib/html.js";
import { t } from "../lib/i18n.js";

const useId = (word) => useMemo(() => freshId(word), []);

/** The frame of a field; name, hint and fault refer to the control by id. */
export function Field({ id, title, hint, fault, count, isOver, required, children }) {
  return html`
    <div class="field">
      <div class="top-line">
        <label for=${id}>${title}${!required && html` <span class="optional">${t("optional")}</span>`}</label>
        ${count && html`<span class=${`count num${isOver ? " over" : ""}`}>${count}</span>`}
      </div>
      ${children}
      ${hint && html`<span class="hint" id=${`${id}-hint`}>${hint}</span>`}
      ${fault && html`<span class="fault" id=${`${id}-fault`} role="alert">${fault}</span>`}
    </div>
  `;
}

/** A text field with a counter if the rule limits its length. */
export function TextField({
  title,
  hint,
  rule = {},
  value,
  onChange,
  fault,
  placeholder,
  isShort,
  isSingleLine,
  type = "text",
}) {
  const id = useId("text");
  const length = [...(value || "")].length;
  const shared = {
    id,
    value: value || "",
    placeholder,
    "aria-invalid": Boolean(fault),
    "aria-required": rule.required || undefined,
    "aria-describedby": fault ? `${id}-fault` : hint ? `${id}-hint` : undefined,
    onInput: (event) => onChange(event.target.value),
  };
  return html`
    <${Field}
      id=${id} title=${title} hint=${hint} fault=${fault} required=${rule.required}
      count=${rule.max_length && `${length} / ${rule.max_length}`} isOver=${rule.max_length && length > rule.max_length}
    >
      ${
        isSingleLine
          ? html`<input type=${type} ...${shared} spellcheck="false" autocomplete="off" />`
          : html`<textarea class=${isShort ? "short" : ""} ...${shared}></textarea>`
      }
    <//>
  `;
}

/** A choice of values; without a default, "Auto" leaves it to the provider. */
export function ChoiceField({ title, hint, rule, value, onChange, fault, names = {}, draw }) {
  const name = useId("choice");
  const options = rule.required || rule.default !== null ? rule.values : [null, ...rule.values];
  const chosen = value ?? rule.default ?? null;
  if (options.length > 9) {
    return html`
      <${Field} id=${name} title=${title} hint=${hint} fault=${fault} required=${rule.required}>
        <select id=${name} value=${chosen ?? ""} onChange=${(event) => onChange(event.target.value || undefined)}>
          ${options.map(
            (option) =>
              html`<option value=${option ?? ""}>${option === null ? t("Auto") : names[option] || option}</option>`,
          )}
        </select>
      <//>
    `;
  }
  return html`
    <fieldset class="field">
      <legend class="top-line name">${title}</legend>
      <div class="choices">
        ${options.map(
          (option) => html`
            <label class="choice">
              <input
                type="radio" name=${name} checked=${chosen === option} onChange=${() => onChange(option ?? undefined)}
              />
              <span>${option !== null && draw?.(option)}${option === null ? t("Auto") : names[option] || option}</span>
            </label>
          `,
        )}
      </div>
      ${hint && html`<span class="hint">${hint}</span>`}
      ${fault && html`<span class="fault" role="alert">${fault}</span>`}
    </fieldset>
  `;
}

/** A number in a range; without a default it is sent only once it is set. */
export function NumberField({ title, hint, rule, value, onChange, fault }) {
  const id = useId("number");
  const isSet = value !== undefined;
  const step = rule.whole ? 1 : 0.05;
  const shown = value ?? rule.default ?? (rule.whole ? rule.low : (rule.low + rule.high) / 2);
  return html`
    <${Field} id=${id} title=${title} hint=${hint} fault=${fault} required=${rule.required || rule.default !== null}>
      <div class=${`slider alone${isSet || rule.default !== null ? "" : " off"}`}>
        <input
          id=${id} type="range" min=${rule.low} max=${rule.high} step=${step} value=${shown}
          aria-describedby=${`${id}-hint`}
          aria-valuetext=${isSet ? undefined : rule.default === null ? t("Auto") : undefined}
          onInput=${(event) => onChange(Number(event.target.value))}
        />
        <output for=${id} class="num">${isSet || rule.default !== null ? shown : t("Auto")}</output>
      </div>
      ${
        isSet &&
        rule.default === null &&
        html`
          <button type="button" class="button quiet small reset" onClick=${() => onChange(undefined)}>
            ${t("Use the provider's default")}
          </button>
        `
      }
    <//>
  `;
}

const RATIO = 18;

/** A small frame with the aspect ratio of a text such as "16:9". */
export function ratio(text) {
  const [wide, high] = text.split(":").map(Number);
  const longer = Math.max(wide, high);
  return html`
    <i
      class="ratio" style=${{ width: `${(wide / longer) * RATIO}px`, height: `${(high / longer) * RATIO}px` }}
      aria-hidden="true"
    ></i>
  `;
}
