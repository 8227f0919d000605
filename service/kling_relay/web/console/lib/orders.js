// From the rule book to a form, and from a form to an order. An order contains only what the user chose.
const OPERATIONS = {
  __proto__: null,
  text2image: "images/generations",
  image2image: "images/generations",
  text2video: "videos/text2video",
  image2video: "videos/image2video",
};
export const KINDS = Object.keys(OPERATIONS);

/** The order of the form's fields; all others come after these. */
const FIELD_ORDER = [
  "image",
  "image_tail",
  "prompt",
  "negative_prompt",
  "aspect_ratio",
  "duration",
  "mode",
  "n",
  "cfg_scale",
  "image_fidelity",
  "camera_control",
];

/** The path under /v1/ for orders of this kind. */
export const operationOf = (kind) => OPERATIONS[kind];

/** The models to choose from, the default one first. */
export function modelsOf(rulebook, kind) {
  const operation = rulebook.operations[operationOf(kind)];
  const known = Object.keys(operation.models).filter((model) => model !== "*");
  return [operation.default_model, ...known.filter((model) => model !== operation.default_model)];
}

/** The fields of this kind and model, as [name, rule]. */
export function fieldsOf(rulebook, kind, model) {
  const operation = rulebook.operations[operationOf(kind)];
  const rules = operation.models[model] || operation.models["*"] || operation.models[operation.default_model];
  const isPicture = (rule) => rule.type === "picture";
  const place = (name) => (FIELD_ORDER.includes(name) ? FIELD_ORDER.indexOf(name) : FIELD_ORDER.length);
  return Object.entries(rules)
    .filter(([name, rule]) => kind !== "text2image" || !(isPicture(rule) || name === "image_fidelity"))
    .map(([name, rule]) => [name, kind === "image2image" && name === "image" ? { ...rule, required: true } : rule])
    .sort(([first], [second]) => place(first) - place(second));
}

/** The current values with defaults; a picture is what the order will contain. */
export function valuesOf(fields, chosen) {
  const values = {};
  for (const [name, rule] of fields) {
    const value = chosen[name] ?? rule.default ?? undefined;
    if (value === undefined || value === "") continue;
    values[name] = rule.type === "picture" ? value.sent : value;
  }
  return values;
}

/** The order's body: the model, the chosen values, and `extras` that the rule book does not list. */
export function orderOf(fields, chosen, model, extras = {}) {
  const order = { model_name: model };
  for (const [name, rule] of fields) {
    const value = chosen[name];
    if (value === undefined || value === "") continue;
    if (rule.type === "camera" && value.type === "simple" && !Object.keys(value.config).length) continue;
    order[name] = rule.type === "picture" ? value.sent : value;
  }
  for (const [name, value] of Object.entries(extras)) if (value) order[name] = value;
  return order;
}

/** Faults that the form can find itself, by field; the service has the last word. */
export function faultsOf(fields, chosen, operation, t) {
  const faults = {};
  for (const [name, rule] of fields) {
    const value = chosen[name];
    const isSet = value !== undefined && value !== "";
    if (rule.required && !isSet) faults[name] = t("Required.");
    if (rule.type === "text" && [...(value || "")].length > rule.max_length)
      faults[name] = t("At most {max} characters.", { max: rule.max_length });
    if (rule.type === "camera" && value?.type === "simple" && !Object.keys(value.config).length)
      faults[name] = t("Move one of the sliders.");
  }
  for (const group of operation.at_least_one) {
    if (!group.some((name) => chosen[name]))
      faults[group[0]] = t("At least one of these is required: {names}", { names: group.join(", ") });
  }
  const crowds = operation.exclusive
    .map((group) => group.filter((name) => chosen[name]))
    .filter((names) => names.length);
  if (crowds.length > 1)
    crowds
      .slice(1)
      .flat()
      .forEach((name) => {
        faults[name] = t("Cannot be combined with {names}.", { names: crowds[0].join(", ") });
      });
  return faults;
}
