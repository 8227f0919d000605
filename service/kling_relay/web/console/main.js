// The console's entry point: picks the page, the language and the theme. A terminal can pass a key in the address.
import { html, render, useEffect, useErrorBoundary, useRef } from "./lib/html.js";
import { restoreScroll } from "./lib/memory.js";
import { decoded, useRoute } from "./lib/route.js";
import { change, language, settings, useSettings } from "./lib/settings.js";
import { start } from "./lib/stream.js";
import { t } from "./lib/i18n.js";
import { OverviewPage } from "./pages/overview.js";
import { SettingsPage } from "./pages/settings.js";
import { SubscriptionPage } from "./pages/subscription.js";
import { SubscriptionsPage } from "./pages/subscriptions.js";
import { TaskPage } from "./pages/task.js";
import { TasksPage } from "./pages/tasks.js";
import { TryPage } from "./pages/try.js";
import { offer } from "./parts/offer.js";
import { Shell } from "./parts/shell.js";
import { Button, Empty, Head } from "./parts/ui.js";

/**
 * The part after # is never sent to a server, so a terminal can pass a key as `/console#key=…`. Any page can open such
 * an address, so it replaces another key only if the user says so.
 */
function takeKey() {
  const match = /^#key=(.*)$/.exec(location.hash);
  if (!match) return;
  history.replaceState(null, "", "#/try");
  const key = decoded(match[1]).trim();
  if (!key) return;
  if (!settings().key || settings().key === key) change({ key, address: "" });
  else offer(key);
}

const isId = (text) => !text || /^[\w-]+$/.test(text);

function pageFor([name, id], query) {
  switch (isId(id) ? name : "") {
    case "try":
      return html`<${TryPage} query=${query} />`;
    case "tasks":
      return id ? html`<${TaskPage} key=${id} id=${id} />` : html`<${TasksPage} query=${query} />`;
    case "subscriptions":
      return id ? html`<${SubscriptionPage} key=${id} id=${id} query=${query} />` : html`<${SubscriptionsPage} />`;
    case "overview":
      return html`<${OverviewPage} query=${query} />`;
    case "settings":
      return html`<${SettingsPage} query=${query} />`;
    default:
      return html`
      <${Head} title=${t("Page not found")} />
      <div class="card">
        <${Empty}
          icon="search"
          acts=${html`<a class="button" href="#/try">${t("Try")}</a>`}
        />
      </div>
    `;
  }
}

/** An error on one page leaves the frame and the other pages intact. */
function Page({ parts, query }) {
  const [error, reset] = useErrorBoundary((failure) => reportError(failure));
  if (!error) return pageFor(parts, query);
  return html`
    <${Head} title=${t("Something went wrong on this page")} />
    <div class="card">
      <${Empty}
        icon="bad"
        acts=${html`<${Button} onClick=${reset}>${t("Retry")}<//>`}
      >
        <p><code>${String(error.message)}</code></p>
      <//>
    </div>
  `;
}

function App() {
  const { parts, query, entry } = useRoute();
  const { key, theme, language: chosen } = useSettings();
  const isFirst = useRef(true);
  const name = key ? parts[0] || "try" : "settings";
  useEffect(() => {
    document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme, chosen]);
  useEffect(() => {
    if (isFirst.current) isFirst.current = false;
    else document.getElementById("content").focus({ preventScroll: true });
  }, [parts.join("/")]);
  useEffect(restoreScroll, [entry]);
  return html`
    <${Shell} page=${name}>
      <${Page} key=${[name, parts[1], entry].join("/")} parts=${[name, parts[1]]} query=${query} />
    <//>
  `;
}

takeKey();
if (settings().theme !== "auto") document.documentElement.dataset.theme = settings().theme;
addEventListener("hashchange", takeKey);
start();
render(html`<${App} />`, document.body);
