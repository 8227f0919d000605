// The filters above the list of tasks; what is chosen stands in the address, so that it can be sent to somebody.
import { html, useState } from "../lib/html.js";
import { t } from "../lib/words.js";
import { Icon } from "./icons.js";
import { KINDS as TITLES } from "./ui.js";

const STATUSES = [["", "Status"], ["submitted", "Submitted"], ["processing", "Processing"], ["succeed", "Succeeded"], ["failed", "Failed"]];
const SPANS = [["", "Time"], ["hour", "The last hour"], ["day", "The last day"], ["week", "The last week"], ["month", "The last month"], ["between", "Between…"]];

const Pick = ({ label, value, options, onChange }) => html`
  <select aria-label=${label} value=${value} onChange=${(event) => onChange(event.target.value)} class=${value ? "set" : ""}>
    ${options.map(([word, title]) => html`<option value=${word}>${t(title)}</option>`)}</select>`;

export function Filters({ query, onFilter, text, onText, kinds }) {
  const [isBetween, between] = useState(Boolean(query.get("from") || query.get("until")));
  function span(word) {
    between(word === "between");
    onFilter({ since: word === "between" ? "" : word, from: "", until: "" });
  }
  return html`<search class="filters">
    <label class="find"><span class="unseen">${t("Search")}</span><${Icon} name="search" />
      <input type="search" value=${text} placeholder=${t("Prompt, id or model")} onInput=${(event) => onText(event.target.value)} /></label>
    <${Pick} label=${t("Status")} value=${query.get("status") || ""} options=${STATUSES} onChange=${(status) => onFilter({ status })} />
    <${Pick} label=${t("Kind")} value=${query.get("kind") || ""} options=${[["", "Kind"], ...kinds.map((kind) => [kind, TITLES[kind]])]} onChange=${(kind) => onFilter({ kind })} />
    <${Pick} label=${t("Time")} value=${isBetween ? "between" : query.get("since") || ""} options=${SPANS} onChange=${span} />
    ${isBetween && html`<div class="between">
      <label><span>${t("from")}</span><input type="datetime-local" value=${query.get("from") || ""} onChange=${(event) => onFilter({ from: event.target.value })} /></label>
      <label><span>${t("until")}</span><input type="datetime-local" value=${query.get("until") || ""} onChange=${(event) => onFilter({ until: event.target.value })} /></label></div>`}
  </search>`;
}
