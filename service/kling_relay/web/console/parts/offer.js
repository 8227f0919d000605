// A key that a link brings along. It replaces the key of this console only if the user says so.
import { html, useEffect, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { useLoaded } from "../lib/hooks.js";
import { change, settings } from "../lib/settings.js";
import { t } from "../lib/i18n.js";
import { Dialog } from "./dialog.js";
import { Button, Notice } from "./ui.js";

const NAME_LENGTH = 6;
let pending = null;
let show = () => {};

/** Ask whether `key` shall replace the current one. */
export function offer(key) {
  pending = key;
  show(key);
}

/** The name of a key and its client, as the service knows them. */
async function nameOf(connection, signal) {
  try {
    const { client, key } = await get("/v1/budget", {}, { signal, connection });
    return [...new Set([client?.name, key?.name])].filter(Boolean).join(" · ") || t("unknown");
  } catch (error) {
    if (signal.aborted || error.isTemporary) throw error;
    return error.status === 401 ? t("The service does not know this key.") : t("unknown");
  }
}

const Row = ({ title, name, value }) => html`
  <dt>${title}</dt>
  <dd><strong>${name || "…"}</strong> <code>${value.slice(0, NAME_LENGTH)}…</code></dd>
`;

function Question({ link, onClose }) {
  const current = settings();
  const { value: names } = useLoaded(
    (signal) => Promise.all([nameOf(current, signal), nameOf({ key: link, address: "" }, signal)]),
    [link],
  );
  function accept() {
    change({ key: link, address: "" });
    onClose();
  }
  return html`
    <${Dialog}
      title=${t("Replace your key?")} onClose=${onClose}
      foot=${html`
        <${Button} kind="danger" onClick=${accept}>${t("Use the key of the link")}<//>
        <${Button} kind="main" onClick=${onClose}>${t("Keep your key")}<//>
      `}
    >
      <${Notice} kind="wait" icon="key">
        <p>${t("A link wants to replace the key of this console. Accept it only if you opened that link yourself.")}</p>
      <//>
      <dl class="facts">
        <${Row} title=${t("Your key")} name=${names?.[0]} value=${current.key} />
        <${Row} title=${t("Key of the link")} name=${names?.[1]} value=${link} />
      </dl>
    <//>
  `;
}

/** The question, while there is a key to decide on. */
export function KeyOffer() {
  const [link, setLink] = useState(pending);
  useEffect(() => {
    show = setLink;
  }, []);
  return link && html`<${Question} key=${link} link=${link} onClose=${() => offer(null)} />`;
}
