// Settings: the service's address and the key, kept in this browser only; language and theme.
import { html, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { useAct } from "../lib/hooks.js";
import { base, change, language, useSettings } from "../lib/settings.js";
import { t } from "../lib/words.js";
import { toast } from "../parts/dialog.js";
import { ChoiceField, TextField } from "../parts/fields.js";
import { Button, Card, Code, Failure, Head, Notice } from "../parts/ui.js";

const THEMES = { auto: "As the system", light: "Light", dark: "Dark" };

export function SettingsPage() {
  const settings = useSettings();
  const [address, say] = useState(settings.address);
  const [key, give] = useState(settings.key);
  const [isShown, show] = useState(false);
  const { run, isBusy, error } = useAct(async () => {
    const url = address.trim().replace(/\/+$/, "");
    if (url && !/^https?:\/\/[^\s/]+/.test(url)) throw new Error(t("The address begins with http:// or https://."));
    change({ address: url, key: key.trim() });
    await get("/v1/tasks", { limit: 1 });
    toast(t("Connected."));
    if (!settings.key) location.hash = "#/try";
  });
  return html`
    <${Head} title=${t("Settings")} about=${t("Kept in this browser only; nothing of it is sent anywhere but to the service, as your key.")} />
    <div class="narrow stack">
      ${!settings.key && html`<${Notice} icon="key"><p><strong>${t("Welcome. One thing is missing: a key.")}</strong></p>
        <p>${t("`make run` prints one. On a server, whoever runs the service makes one:")}</p><${Code} text="kling-relay keys create my-laptop" /><//>`}
      <${Card} title=${t("Service")}>
        <form class="stack" onSubmit=${(event) => { event.preventDefault(); run(); }} novalidate>
          <${TextField} one type="url" title=${t("Address of the service")} value=${address} onChange=${say} placeholder=${location.origin} hint=${t("Empty is where this page came from.")} />
          <${TextField} one type=${isShown ? "text" : "password"} title=${t("Key")} rule=${{ required: true }} value=${key} onChange=${give} placeholder="kr-…" />
          <label class="check"><input type="checkbox" checked=${isShown} onChange=${() => show(!isShown)} /><span>${t("Show the key")}</span></label>
          <${Failure} error=${error} />
          <div class="line"><${Button} kind="main" type="submit" isBusy=${isBusy}>${t("Save and try")}<//>
            ${settings.key && html`<${Button} kind="danger" onClick=${() => { change({ key: "" }); give(""); }}>${t("Forget the key")}<//>`}
            <span class="push"></span><span class="hint">${base()}</span></div>
        </form><//>
      <${Card} title=${t("Appearance")}><div class="stack">
        <${ChoiceField} title=${t("Language")} rule=${{ of: ["en", "zh"], default: language(), required: true }} names=${{ en: "English", zh: "中文" }} value=${language()} onChange=${(word) => change({ language: word })} />
        <${ChoiceField} title=${t("Theme")} rule=${{ of: Object.keys(THEMES), default: "auto", required: true }} names=${Object.fromEntries(Object.entries(THEMES).map(([word, title]) => [word, t(title)]))} value=${settings.theme} onChange=${(theme) => change({ theme })} />
      </div><//>
    </div>`;
}
