// A ranking: a list with a bar behind each row.
import { html } from "../lib/html.js";
import { number } from "../lib/format.js";
import { Card } from "./ui.js";

/** `rows` are {title, count, hint?, shown?, tone?}; a bar is the share of `max`, the highest count by default. */
export function Ranking({
  title,
  rows,
  empty = "",
  hrefOf,
  max = Math.max(1e-9, ...rows.map((row) => row.count)),
  tone = "bad",
}) {
  return html`
    <${Card} title=${title}>
      ${
        rows.length === 0
          ? html`<p class="hint">${empty}</p>`
          : html`
          <ol class="ranking">
            ${rows.map(
              (row) => html`
                <li class=${row.tone || tone}>
                  <span class="bar" style=${{ width: `${Math.min(1, row.count / max) * 86}%` }}></span>
                  <span class="text">
                    ${hrefOf ? html`<a href=${hrefOf(row)}>${row.title}</a>` : row.title}
                    ${row.hint && html` <span class="hint">${row.hint}</span>`}
                  </span>
                  <strong class="num">${row.shown ?? number(row.count)}</strong>
                </li>
              `,
            )}
          </ol>
        `
      }
    <//>
  `;
}
