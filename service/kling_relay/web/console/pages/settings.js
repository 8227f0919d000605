// Settings: the service's URL and the key, stored in this browser only; language and theme.
import { html, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { useAction } from "../lib/hooks.js";
import { base, change, language, useSettings } from "../lib/settings.js";
import { t } from "../lib/i18n.js";
import { toast } from "../parts/dialog.js";
import { ChoiceField, TextField } from "../parts/fields.js";
import { Button, Card, Code, Failure, Head, Notice } from "../parts/ui.js";

const THEMES = { auto: "System", light: "Light", dark: "Dark" };

/** Go to the page that asked for a key, if the user came from one; a first key leads to Try. */
function leave(query, isFirstKey) {
  if (!location.hash.startsWith("#/settings")) return;
  const next = query.get("next") || (isFirstKey ? "try" : "");
  if (next) location.hash = `#/${next}`;
}

export function SettingsPage({ query }) {
  const settings = useSettings();
  const [address, setAddress] = useState(settings.address);
  const [key, setKey] = useState(settings.key);
  const [isShown, setIsShown] = useState(false);
  const { run, isBusy, error } = useAction(async () => {
    const url = address.trim().replace(/\/+$/, "");
    if (url && !/^https?:\/\/[^\s/]+/.test(url)) throw new Error(t("The URL must start with http:// or https://."));
    const connection = { address: url, key: key.trim() };
    try {
      await get("/v1/tasks", { limit: 1 }, { connection });
    } catch (failure) {
      // a key that may not read tasks is a key all the same
      if (failure.status !== 403) throw failure;
    }
    change(connection);
    toast(t("Connected."));
    leave(query, !settings.key);
  });
  return html`
    <${Head} title=${t("Settings")} about=${t("Stored in this browser only. The key is sent only to the service.")} />
    <div class="narrow stack">
      ${
        !settings.key &&
        html`
          <${Notice} icon="key">
            <p><strong>${t("Welcome. Enter an API key to start.")}</strong></p>
            <p>${t("`make run` prints one. On a server, an administrator creates one:")}</p>
            <${Code} text="kling-relay keys create my-laptop" />
          <//>
        `
      }
      <${Card} title=${t("Service")}>
        <form
          class="stack"
          onSubmit=${(event) => {
            event.preventDefault();
            run();
          }}
          novalidate
        >
          <${TextField}
            isSingleLine type="url" title=${t("Service URL")} value=${address} onChange=${setAddress}
            placeholder=${location.origin} hint=${t("Leave empty to use the server of this page.")}
          />
          <${TextField}
            isSingleLine type=${isShown ? "text" : "password"} title=${t("API key")} rule=${{ required: true }}
            value=${key} onChange=${setKey} placeholder="kr-…"
          />
          <label class="check">
            <input type="checkbox" checked=${isShown} onChange=${() => setIsShown(!isShown)} />
            <span>${t("Show key")}</span>
          </label>
          <${Failure} error=${error} />
          <div class="line">
            <${Button} kind="main" type="submit" isBusy=${isBusy}>${t("Save and test")}<//>
            ${
              settings.key &&
              html`
                <${Button}
                  kind="danger"
                  onClick=${() => {
                    change({ key: "" });
                    setKey("");
                  }}
                >
                  ${t("Remove key")}
                <//>
              `
            }
            <span class="push"></span>
            <span class="hint">${base()}</span>
          </div>
        </form>
      <//>
      <${Card} title=${t("Appearance")}>
        <div class="stack">
          <${ChoiceField}
            title=${t("Language")} rule=${{ values: ["en", "zh"], default: language(), required: true }}
            names=${{ en: "English", zh: "中文" }} value=${language()} onChange=${(name) => change({ language: name })}
          />
          <${ChoiceField}
            title=${t("Theme")} rule=${{ values: Object.keys(THEMES), default: "auto", required: true }}
            names=${Object.fromEntries(Object.entries(THEMES).map(([name, title]) => [name, t(title)]))}
            value=${settings.theme} onChange=${(theme) => change({ theme })}
          />
        </div>
      <//>
    </div>
  `;
}
