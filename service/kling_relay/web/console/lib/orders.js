// From the rule book to a form, and from a form to an order. An order holds only what was chosen.
const DOORS = {
  text2image: "images/generations", image2image: "images/generations", text2video: "videos/text2video", image2video: "videos/image2video",
};
export const KINDS = Object.keys(DOORS);

/** Fields in the order in which people think of them; others come after. */
const ORDER = ["image", "image_tail", "prompt", "negative_prompt", "aspect_ratio", "duration", "mode", "n", "cfg_scale", "image_fidelity", "camera_control"];

/** The path under /v1/ that orders of this kind go to. */
export const operationOf = (kind) => DOORS[kind];

/** The models that may be chosen, the operation's own first. */
export function modelsOf(rulebook, kind) {
  const operation = rulebook.operations[operationOf(kind)];
  const known = Object.keys(operation.models).filter((model) => model !== "*");
  return [operation.default_model, ...known.filter((model) => model !== operation.default_model)];
}

/** The fields of this kind for this model, as [name, rule], with what the kind itself asks for. */
export function fieldsOf(rulebook, kind, model) {
  const operation = rulebook.operations[operationOf(kind)];
  const rules = operation.models[model] || operation.models["*"] || operation.models[operation.default_model];
  const isPicture = (rule) => rule.takes === "picture";
  const place = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return Object.entries(rules)
    .filter(([name, rule]) => kind !== "text2image" || !(isPicture(rule) || name === "image_fidelity"))
    .map(([name, rule]) => [name, kind === "image2image" && name === "image" ? { ...rule, required: true } : rule])
    .sort(([one], [other]) => place(one) - place(other));
}

/** The values in force, defaults filled in; pictures as what is sent. */
export function valuesOf(fields, chosen) {
  const values = {};
  for (const [name, rule] of fields) {
    const value = chosen[name] ?? rule.default ?? undefined;
    if (value === undefined || value === "") continue;
    values[name] = rule.takes === "picture" ? value.sent : value;
  }
  return values;
}

/** The order's body: the model, what was chosen, and what stands beside the rules. */
export function orderOf(fields, chosen, model, beside = {}) {
  const order = { model_name: model };
  for (const [name, rule] of fields) {
    const value = chosen[name];
    if (value === undefined || value === "") continue;
    if (rule.takes === "camera" && value.type === "simple" && !Object.keys(value.config).length) continue;
    order[name] = rule.takes === "picture" ? value.sent : value;
  }
  for (const [name, value] of Object.entries(beside)) if (value) order[name] = value;
  return order;
}

/** What the form can see to be wrong, by field; the service judges in the end. */
export function faultsOf(fields, chosen, operation, t) {
  const faults = {};
  for (const [name, rule] of fields) {
    const value = chosen[name];
    const isSet = value !== undefined && value !== "";
    if (rule.required && !isSet) faults[name] = t("This is needed.");
    if (rule.takes === "text" && [...(value || "")].length > rule.max_length) faults[name] = t("At most {most} characters.", { most: rule.max_length });
    if (rule.takes === "camera" && value?.type === "simple" && !Object.keys(value.config).length) faults[name] = t("Move one of the six sliders.");
  }
  for (const group of operation.at_least_one) {
    if (!group.some((name) => chosen[name])) faults[group[0]] = t("One of these is needed: {names}", { names: group.join(", ") });
  }
  const crowds = operation.exclusive.map((group) => group.filter((name) => chosen[name])).filter((names) => names.length);
  if (crowds.length > 1) crowds.slice(1).flat().forEach((name) => { faults[name] = t("It cannot go together with {names}.", { names: crowds[0].join(", ") }); });
  return faults;
}
