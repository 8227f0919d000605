// The frame around every page: navigation, the state of the stream, language and settings.
import { html } from "../lib/html.js";
import { change, language } from "../lib/settings.js";
import { useStreamState } from "../lib/stream.js";
import { t } from "../lib/i18n.js";
import { Toasts } from "./dialog.js";
import { Icon } from "./icons.js";
import { KeyOffer } from "./offer.js";
import { Secret } from "./subscribing.js";

export const PAGES = [
  ["try", "Try"],
  ["tasks", "Tasks"],
  ["subscriptions", "Subscriptions"],
  ["overview", "Overview"],
];
const STATES = {
  __proto__: null,
  off: "Not connected",
  opening: "Connecting",
  live: "Live",
  waiting: "Reconnecting",
  refused: "Key rejected",
};

const Brand = () => html`<a class="brand" href="#/try"><img src="/console/icon.svg" alt="" />kling-relay</a>`;

function Language() {
  const other = language() === "zh" ? "en" : "zh";
  return html`
    <button type="button" class="button quiet small" lang=${other} onClick=${() => change({ language: other })}>
      ${other === "zh" ? "中文" : "English"}
    </button>
  `;
}

export function Shell({ page, children }) {
  const state = useStreamState();
  return html`
    <div class="frame">
      <a
        class="skip" href="#content"
        onClick=${(event) => {
          event.preventDefault();
          document.getElementById("content").focus();
        }}
      >
        ${t("Skip to content")}
      </a>
      <header class="top">
        <${Brand} />
        <div class="acts">
          <span class=${`dot ${state}`} role="img" aria-label=${t(STATES[state])}></span>
          <${Language} />
          <a class="button quiet icon" href="#/settings" aria-label=${t("Settings")}><${Icon} name="settings" /></a>
        </div>
      </header>
      <aside class="rail">
        <${Brand} />
        <nav aria-label=${t("Navigation")}>
          ${PAGES.map(
            ([name, title]) => html`
              <a href=${`#/${name}`} aria-current=${page === name ? "page" : undefined}>
                <${Icon} name=${name} />
                <span>${t(title)}</span>
              </a>
            `,
          )}
        </nav>
        <div class="foot">
          <div class="state" role="status">
            <span class=${`dot ${state}`}></span>
            ${t(STATES[state])}
            <span class="push"></span>
            <${Language} />
          </div>
          <a href="/docs"><${Icon} name="docs" />${t("API reference")}</a>
          <a href="#/settings" aria-current=${page === "settings" ? "page" : undefined}>
            <${Icon} name="settings" />
            ${t("Settings")}
          </a>
        </div>
      </aside>
      <main class="page" id="content" tabindex="-1">${children}</main>
      <${Secret} />
      <${KeyOffer} />
      <${Toasts} />
    </div>
  `;
}
