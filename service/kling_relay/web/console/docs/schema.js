// Schemas of the OpenAPI document: rendered as trees, and turned into examples.
import { html } from "../lib/html.js";

const MAX_DEPTH = 5;

/** Resolve a schema's reference and merge it with its sibling keywords. */
export function resolved(schema, document) {
  if (!schema) return {};
  if (schema.$ref) {
    const { $ref, ...siblings } = schema;
    const target = $ref
      .slice(2)
      .split("/")
      .reduce((place, part) => place[part], document);
    return { ...resolved(target, document), ...siblings, of: $ref.split("/").at(-1) };
  }
  if (schema.allOf) {
    const parts = schema.allOf.map((part) => resolved(part, document));
    const hasProperties = parts.some((part) => part.properties);
    return {
      ...parts[0],
      ...schema,
      allOf: undefined,
      properties: hasProperties ? Object.assign({}, ...parts.map((part) => part.properties)) : schema.properties,
      required: parts.flatMap((part) => part.required || []),
      anyOf: parts.find((part) => part.anyOf)?.anyOf,
    };
  }
  return schema;
}

/** Split "or null" from a schema. */
function withoutNull(schema, document) {
  const whole = resolved(schema, document);
  if (!whole.anyOf) return [whole, false];
  const others = whole.anyOf.filter((option) => option.type !== "null");
  const isNullable = others.length < whole.anyOf.length;
  return others.length === 1
    ? [{ ...whole, ...resolved(others[0], document), anyOf: undefined }, isNullable]
    : [whole, isNullable];
}

/** Describe the type of a schema in a few words. */
export function typeOf(schema, document) {
  const [whole, isNullable] = withoutNull(schema, document);
  const or = isNullable ? " or null" : "";
  if (whole.const !== undefined) return JSON.stringify(whole.const) + or;
  if (whole.enum) return whole.enum.map((option) => JSON.stringify(option)).join(" | ") + or;
  if (whole.anyOf) return whole.anyOf.map((option) => typeOf(option, document)).join(" | ");
  if (whole.type === "array") return `list of ${typeOf(whole.items, document)}${or}`;
  if (whole.type === "object" || whole.properties) return (whole.of || "object") + or;
  return (whole.type || "anything") + or;
}

/** Describe ranges, lengths and defaults. */
export function limits(schema, document) {
  const [whole] = withoutNull(schema, document);
  return [
    whole.minimum !== undefined && whole.maximum !== undefined
      ? `${whole.minimum} to ${whole.maximum}`
      : whole.minimum !== undefined
        ? `at least ${whole.minimum}`
        : whole.maximum !== undefined && `at most ${whole.maximum}`,
    whole.maxLength !== undefined && `up to ${whole.maxLength} characters`,
    whole.format,
    whole.default !== undefined && whole.default !== null && `default ${JSON.stringify(whole.default)}`,
  ].filter(Boolean);
}

export function Members({ schema: parent, document, depth = 0 }) {
  const [whole] = withoutNull(parent, document);
  const inner = whole.type === "array" ? withoutNull(whole.items, document)[0] : whole;
  if (!inner.properties || depth > MAX_DEPTH) return null;
  const needed = new Set(inner.required || []);
  return html`
    <ul class="members">
      ${Object.entries(inner.properties).map(([name, schema]) => {
        const [member] = withoutNull(schema, document);
        const below = member.type === "array" ? withoutNull(member.items, document)[0] : member;
        return html`
          <li>
            <div class="member">
              <code class="name">${name}</code>
              <span class="type">${typeOf(schema, document)}</span>
              ${needed.has(name) && depth === 0 ? html`<span class="needed">required</span>` : ""}
              ${limits(schema, document).map((limit) => html`<span class="limit">${limit}</span>`)}
            </div>
            ${(schema.description || member.description) && html`<p>${schema.description || member.description}</p>`}
            ${
              below.properties &&
              html`
                <details>
                  <summary>its members</summary>
                  <${Members} schema=${below} document=${document} depth=${depth + 1} />
                </details>
              `
            }
          </li>
        `;
      })}
    </ul>
  `;
}

const TEXTS = {
  prompt: "太空飞船在航行",
  url: "https://example.com/webhooks/kling",
  image: "https://example.com/picture.png",
  model_name: "kling-v1",
  since: "2026-11-01T00:00:00Z",
  timestamp: "2026-11-22T12:00:00.000Z",
  type: "task.succeed",
  message: "成功",
  currency: "unit",
  secret: "whsec_…",
  notify_hook: "https://example.com/hook",
  external_task_id: "order-4711",
  at: "2026-11-22T12:00:00.000Z",
  model: "kling-v1",
};
const RARE_FIELDS = new Set(["negative_prompt", "image_tail", "camera_control", "image_fidelity", "cfg_scale"]);

/** Return a plausible value of a schema; `isAsked` leaves out rarely used fields. */
export function exampleOf(schema, document, name = "", isAsked = false, depth = 0) {
  const [whole] = withoutNull(schema, document);
  if (whole.default !== undefined && whole.default !== null && name !== "model_name") return whole.default;
  if (whole.const !== undefined) return whole.const;
  if (whole.enum) return whole.enum[0];
  if (whole.examples) return whole.examples[0];
  if (depth > MAX_DEPTH) return null;
  if (whole.properties || whole.type === "object") {
    const shown = Object.entries(whole.properties || {}).filter(([key]) => !isAsked || !RARE_FIELDS.has(key));
    return Object.fromEntries(shown.map(([key, value]) => [key, exampleOf(value, document, key, isAsked, depth + 1)]));
  }
  if (whole.type === "array") return [exampleOf(whole.items, document, name, isAsked, depth + 1)];
  if (whole.type === "integer" || whole.type === "number")
    return name.endsWith("_at") ? 1795369137844 : (whole.minimum ?? 1);
  if (whole.type === "boolean") return false;
  if (whole.type === "string")
    return (
      TEXTS[name] ??
      (name.endsWith("id") ? "01a20456-f6b4-7000-af89-f2b2835ecf47" : name.endsWith("_at") ? TEXTS.at : "…")
    );
  return null;
}
