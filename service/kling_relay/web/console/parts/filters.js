// The filters above the list of tasks; they are part of the address, so a filtered list can be shared.
import { html, useState } from "../lib/html.js";
import { t } from "../lib/i18n.js";
import { Icon } from "./icons.js";
import { KINDS as TITLES } from "./ui.js";

const STATUSES = [
  ["", "Status"],
  ["submitted", "Submitted"],
  ["processing", "Processing"],
  ["succeed", "Succeeded"],
  ["failed", "Failed"],
];
const SPANS = [
  ["", "Time"],
  ["hour", "Last hour"],
  ["day", "Last 24 hours"],
  ["week", "Last 7 days"],
  ["month", "Last 30 days"],
  ["between", "Between…"],
];

const Select = ({ label, value, options, onChange }) => html`
  <select
    aria-label=${label} value=${value} onChange=${(event) => onChange(event.target.value)} class=${value ? "set" : ""}
  >
    ${options.map(([word, title]) => html`<option value=${word}>${t(title)}</option>`)}
  </select>
`;

export function Filters({ query, onFilter, text, onText, kinds }) {
  const [isBetween, setIsBetween] = useState(Boolean(query.get("from") || query.get("until")));
  function span(word) {
    setIsBetween(word === "between");
    onFilter({ since: word === "between" ? "" : word, from: "", until: "" });
  }
  return html`
    <search class="filters">
      <label class="find">
        <span class="unseen">${t("Search")}</span>
        <${Icon} name="search" />
        <input
          type="search" value=${text} placeholder=${t("Search prompts, IDs, models")}
          onInput=${(event) => onText(event.target.value)}
        />
      </label>
      <${Select}
        label=${t("Status")} value=${query.get("status") || ""} options=${STATUSES}
        onChange=${(status) => onFilter({ status })}
      />
      <${Select}
        label=${t("Type")} value=${query.get("kind") || ""}
        options=${[["", "Type"], ...kinds.map((kind) => [kind, TITLES[kind]])]} onChange=${(kind) => onFilter({ kind })}
      />
      <${Select}
        label=${t("Time")} value=${isBetween ? "between" : query.get("since") || ""} options=${SPANS} onChange=${span}
      />
      ${
        isBetween &&
        html`
          <div class="between">
            <label>
              <span>${t("from")}</span>
              <input
                type="datetime-local" value=${query.get("from") || ""}
                onChange=${(event) => onFilter({ from: event.target.value })}
              />
            </label>
            <label>
              <span>${t("until")}</span>
              <input
                type="datetime-local" value=${query.get("until") || ""}
                onChange=${(event) => onFilter({ until: event.target.value })}
              />
            </label>
          </div>
        `
      }
    </search>
  `;
}
