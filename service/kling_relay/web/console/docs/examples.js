// The example of an operation: as code in four languages, and as a request that can be sent from here.
import { freshId, html, useMemo, useState } from "../lib/html.js";
import { base, useSettings } from "../lib/settings.js";
import { Button, Code, Notice, Tabs } from "../parts/ui.js";
import { LANGUAGES } from "./snippets.js";

const PLACEHOLDER_KEY = "YOUR-KEY";
const STREAM = "text/event-stream";

/** Return the names of what an example needs to be told: parameters of the path, and required ones of the query. */
const neededOf = ({ path, parameters }) => [
  ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
  ...parameters.filter((parameter) => parameter.in === "query" && parameter.required).map(({ name }) => name),
];

const exampleOf = ({ requestBody }) => Object.values(requestBody?.content || {})[0]?.example ?? null;

const isStream = ({ responses }) => STREAM in (responses[200]?.content || {});

/** Return the request with these values of parameters; one that has none stands there in capitals. */
function requestOf(operation, values, body, key) {
  const written = (name) => (values[name] ? encodeURIComponent(values[name]) : name.toUpperCase());
  const path = operation.path.replace(/\{(\w+)\}/g, (_, name) => written(name));
  const query = neededOf(operation)
    .filter((name) => !operation.path.includes(`{${name}}`))
    .map((name) => `${name}=${written(name)}`);
  return {
    method: operation.method.toUpperCase(),
    url: `${base()}${path}${query.length ? `?${query.join("&")}` : ""}`,
    headers: {
      ...(operation.security.length && { Authorization: `Bearer ${key}` }),
      ...(body !== null && { "Content-Type": "application/json" }),
    },
    body,
    isStream: isStream(operation),
  };
}

async function send({ method, url, headers, body }) {
  const response = await fetch(url, { method, headers, body: body ?? undefined, cache: "no-store" });
  const text = await response.text();
  try {
    return { status: response.status, isGood: response.ok, text: JSON.stringify(JSON.parse(text), null, 2) };
  } catch {
    return { status: response.status, isGood: response.ok, text };
  }
}

function Answer({ answer }) {
  if (!answer) return null;
  if (answer.error) return html`<${Notice} kind="bad" role="alert">The service does not answer: ${answer.error}<//>`;
  return html`
    <div class="answer" role="status">
      <span class=${`pill plain ${answer.isGood ? "good" : "bad"}`}>${answer.status}</span>
      ${answer.text && html`<${Code} label="Response" text=${answer.text} />`}
    </div>
  `;
}

/** What the request still needs, and a button that sends it with the console's key. */
function Runner({ operation, request, values, onValues, body, onBody, hasKey }) {
  const [answer, setAnswer] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const ids = useMemo(() => freshId("run"), []);
  const names = neededOf(operation);
  async function run(event) {
    event.preventDefault();
    setIsBusy(true);
    setAnswer(await send(request).catch((error) => ({ error: error.message })));
    setIsBusy(false);
  }
  if (!hasKey)
    return html`<p class="hint">To run this here, enter a key <a href="/console#/settings">in the console</a>.</p>`;
  return html`
    <form class="runner" onSubmit=${run}>
      ${names.map(
        (name) => html`
          <label for=${`${ids}-${name}`}>${name}</label>
          <input
            id=${`${ids}-${name}`} type="text" required value=${values[name] || ""}
            onInput=${(event) => onValues({ ...values, [name]: event.target.value.trim() })}
          />
        `,
      )}
      ${
        body !== null &&
        html`
        <details>
          <summary>Change the body</summary>
          <textarea
            aria-label="Body" rows="10" spellcheck=${false} value=${body}
            onInput=${(event) => onBody(event.target.value)}
          ></textarea>
        </details>
      `
      }
      <div class="acts">
        <${Button} type="submit" kind="small" icon="play" isBusy=${isBusy}>Run<//>
        ${operation["x-scope"] === "submit" && html`<span class="hint">This places an order, which is charged.</span>`}
      </div>
    </form>
    <${Answer} answer=${answer} />
  `;
}

/** The example with tabs for the languages. The code shows a short form of the key; a copy has the whole one. */
export function Examples({ operation, language, onLanguage }) {
  const { key } = useSettings();
  const [values, setValues] = useState({});
  const [body, setBody] = useState(() => {
    const example = exampleOf(operation);
    return example && JSON.stringify(example, null, 2);
  });
  const request = requestOf(operation, values, body, key || PLACEHOLDER_KEY);
  const shown = requestOf(operation, values, body, key ? `${key.slice(0, 4)}…` : PLACEHOLDER_KEY);
  const write = LANGUAGES[language];
  return html`
    <${Tabs}
      label="Language" kind="languages" value=${language} onChange=${onLanguage}
      options=${Object.keys(LANGUAGES).map((name) => ({ value: name, title: name }))}
    />
    <${Code} label=${language} text=${write(request)} shown=${write(shown)} />
    ${
      !request.isStream &&
      html`
      <${Runner}
        operation=${operation} request=${request} values=${values} onValues=${setValues} body=${body} onBody=${setBody}
        hasKey=${!operation.security.length || Boolean(key)}
      />
    `
    }
  `;
}
