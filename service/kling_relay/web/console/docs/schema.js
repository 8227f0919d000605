// Schemas of the OpenAPI document: rendered as trees, and turned into examples.
import { html } from "../lib/html.js";

const MAX_DEPTH = 5;
const WIDTHS = ["int64", "double"]; // formats that say nothing to a reader

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
    const { allOf, ...own } = schema;
    const parts = [...allOf.map((part) => resolved(part, document)), own];
    const properties = Object.assign({}, ...parts.map((part) => part.properties));
    return {
      ...Object.assign({}, ...parts),
      ...(Object.keys(properties).length && { properties }),
      required: [...new Set(parts.flatMap((part) => part.required || []))],
    };
  }
  return schema;
}

/** Whether these are alternative schemas, and not conditions of one. */
const areTypes = (options) => options.every((option) => option.type || option.$ref || option.enum || option.anyOf);

/** Split "or null" from a schema. */
function withoutNull(schema, document) {
  const whole = resolved(schema, document);
  if (Array.isArray(whole.type)) {
    const types = whole.type.filter((type) => type !== "null");
    const options = whole.enum?.filter((option) => option !== null);
    return [
      { ...whole, type: types.join(" or "), ...(options && { enum: options }) },
      types.length < whole.type.length,
    ];
  }
  if (!whole.anyOf) return [whole, false];
  if (!areTypes(whole.anyOf)) return [{ ...whole, anyOf: undefined }, false];
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
    !WIDTHS.includes(whole.format) && whole.format,
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

/** Return a plausible value of a schema. */
export function exampleOf(schema, document, name = "", depth = 0) {
  const [whole] = withoutNull(schema, document);
  if (whole.default !== undefined && whole.default !== null && name !== "model_name") return whole.default;
  if (whole.const !== undefined) return whole.const;
  if (whole.enum) return whole.enum[0];
  if (whole.examples) return whole.examples[0];
  if (depth > MAX_DEPTH) return null;
  if (whole.properties || whole.type === "object") {
    const members = Object.entries(whole.properties || {});
    return Object.fromEntries(members.map(([key, value]) => [key, exampleOf(value, document, key, depth + 1)]));
  }
  if (whole.type === "array") return [exampleOf(whole.items, document, name, depth + 1)];
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
