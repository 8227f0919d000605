// The API reference, rendered from /openapi.json: each path with its parameters, answers and an example to run.
// What subscribers receive comes from /asyncapi.json.
import { html, render, useEffect, useState } from "../lib/html.js";
import { settings } from "../lib/settings.js";
import { Code, Failure } from "../parts/ui.js";
import { Examples } from "./examples.js";
import { Members, exampleOf, limits, typeOf } from "./schema.js";

const METHODS = ["post", "get", "patch", "delete"];

function operations(document) {
  const all = Object.entries(document.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]).map((method) => ({ method, path, ...methods[method] })),
  );
  return document.tags
    .map((tag) => ({ ...tag, operations: all.filter((operation) => operation.tags[0] === tag.name) }))
    .filter((tag) => tag.operations.length);
}

/** Return the request that subscribers receive, described as an operation. */
function hookOf(document) {
  const { payload } = document.components.messages["standard.task.succeed"];
  const headers = document.components.schemas.SignatureHeaders;
  return {
    operationId: "event",
    summary: "An event as a subscriber gets it (format standard), signed as in Standard Webhooks",
    method: "post",
    path: "your address",
    parameters: Object.entries(headers.properties).map(([name, schema]) => ({
      name,
      in: "header",
      required: headers.required.includes(name),
      schema: { type: schema.type },
      description: schema.description,
    })),
    requestBody: { content: { "application/json": { schema: payload } } },
    responses: {
      "2XX": { description: "Accepted" },
      410: { description: "Gone: the subscription is disabled" },
      default: { description: "Retried by the schedule; Retry-After is honoured" },
    },
  };
}

const contentOf = (body) => Object.entries(body?.content || {})[0] || [null, {}];

function Parameters({ parameters, document }) {
  if (!parameters.length) return null;
  return html`
    <h4>Parameters</h4>
    <ul class="members">
      ${parameters.map(
        (parameter) => html`
          <li>
            <div class="member">
              <code class="name">${parameter.name}</code>
              <span class="limit">${parameter.in}</span>
              <span class="type">
                ${typeOf(parameter.schema, document)}
                ${parameter.schema.type === "array" ? ", separated by commas" : ""}
              </span>
              ${parameter.required && html`<span class="needed">required</span>`}
              ${limits(parameter.schema, document).map((limit) => html`<span class="limit">${limit}</span>`)}
            </div>
            ${parameter.description && html`<p>${parameter.description}</p>`}
          </li>
        `,
      )}
    </ul>
  `;
}

function Answers({ responses, document }) {
  return html`
    <h4>Answers</h4>
    <ul class="answers">
      ${Object.entries(responses).map(([status, answer]) => {
        const [media, { schema } = {}] = contentOf(answer);
        const isGood = status.startsWith("2");
        return html`
          <li>
            <details open=${isGood && Boolean(schema?.$ref)}>
              <summary>
                <span class=${`pill plain ${isGood ? "good" : ""}`}>${status}</span> ${answer.description}
                ${media && html`<span class="limit">${media}</span>`}
              </summary>
              ${schema && html`<${Members} schema=${schema} document=${document} />`}
            </details>
          </li>
        `;
      })}
    </ul>
  `;
}

function Operation({ operation, document, isHook, language, onLanguage }) {
  const [, { schema } = {}] = contentOf(operation.requestBody);
  const [, { schema: answer } = {}] = contentOf(
    operation.responses[Object.keys(operation.responses).find((status) => status.startsWith("2"))],
  );
  return html`
    <section
      class="operation" id=${operation.operationId} aria-label=${`${operation.method.toUpperCase()} ${operation.path}`}
    >
      <div class="about">
        <h3>${operation.summary}</h3>
        <p class="path">
          <span class=${`method ${operation.method}`}>${operation.method.toUpperCase()}</span>${" "}
          <code>${operation.path}</code>
        </p>
        ${
          operation["x-scope"] &&
          html`<p class="hint">Needs a key with the scope <code class="inline">${operation["x-scope"]}</code>.</p>`
        }
        <${Parameters} parameters=${operation.parameters || []} document=${document} />
        ${
          schema &&
          html`
            <h4>Body</h4>
            ${schema.description && html`<p class="hint">${schema.description}</p>`}
            <${Members} schema=${schema} document=${document} />
          `
        }
        <${Answers} responses=${operation.responses} document=${document} />
      </div>
      <div class="examples">
        ${
          isHook
            ? html`<${Code} label="Example" text=${JSON.stringify(exampleOf(schema, document), null, 2)} />`
            : html`
            <${Examples} operation=${operation} language=${language} onLanguage=${onLanguage} />
            ${
              answer?.$ref &&
              html`<${Code} label="Answer" text=${JSON.stringify(exampleOf(answer, document), null, 2)} />`
            }
          `
        }
      </div>
    </section>
  `;
}

function Contents({ tags, search, onSearch }) {
  const matches = (operation) =>
    !search ||
    `${operation.summary} ${operation.path} ${operation.method}`.toLowerCase().includes(search.toLowerCase());
  return html`
    <aside class="contents">
      <a class="brand" href="/console"><img src="/console/icon.svg" alt="" />kling-relay</a>
      <input
        type="search" placeholder="Find a path" aria-label="Find a path" value=${search}
        onInput=${(event) => onSearch(event.target.value)}
      />
      <nav aria-label="Paths">
        ${tags.map((tag) => {
          const shown = tag.operations.filter(matches);
          return (
            shown.length > 0 &&
            html`
            <h4>${tag.name}</h4>
            <ul>
              ${shown.map(
                (operation) => html`
                  <li>
                    <a href=${`#${operation.operationId}`}>
                      <span class=${`method small ${operation.method}`}>
                        ${operation.method === "delete" ? "del" : operation.method}
                      </span>
                      <span>${operation.summary}</span>
                    </a>
                  </li>
                `,
              )}
            </ul>
          `
          );
        })}
        <h4>Webhooks</h4>
        <ul>
          <li><a href="#event"><span class="method small post">post</span><span>Event webhook</span></a></li>
        </ul>
      </nav>
    </aside>
  `;
}

function Reference() {
  const [documents, setDocuments] = useState(null);
  const [language, setLanguage] = useState("curl");
  const [error, setError] = useState(null);
  const [search, setSearch] = useState("");
  useEffect(() => {
    Promise.all(
      ["/openapi.json", "/asyncapi.json"].map((path) => fetch(path).then((response) => response.json())),
    ).then(setDocuments, setError);
  }, []);
  useEffect(() => {
    if (documents && location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }, [documents]);
  if (error) return html`<main class="reference"><${Failure} error=${error} /></main>`;
  if (!documents) return null;
  const [openapi, asyncapi] = documents;
  const tags = operations(openapi);
  return html`
    <${Contents} tags=${tags} search=${search} onSearch=${setSearch} />
    <main class="reference">
      <header>
        <h1>API reference</h1>
        ${openapi.info.description
          .trim()
          .split("\n\n")
          .map(
            (text) => html`
            <p>
              ${text.split("`").map((part, index) => (index % 2 ? html`<code class="inline">${part}</code>` : part))}
            </p>
          `,
          )}
        <p>
          <a href="/openapi.json" download="openapi.json">openapi.json</a> ·${" "}
          <a href="/asyncapi.json" download="asyncapi.json">asyncapi.json</a> · <a href="/console">Console</a>
        </p>
      </header>
      ${tags.map(
        (tag) => html`
          <section>
            <h2 class="tag" id=${tag.name}>${tag.name}<span>${tag.description}</span></h2>
            ${tag.operations.map(
              (operation) => html`
                  <${Operation}
                    key=${operation.operationId} operation=${operation} document=${openapi}
                    language=${language} onLanguage=${setLanguage}
                  />
                `,
            )}
          </section>
        `,
      )}
      <section>
        <h2 class="tag" id="Webhooks">Webhooks<span>Requests to your subscribers</span></h2>
        <${Operation} operation=${hookOf(asyncapi)} document=${asyncapi} isHook />
      </section>
    </main>
  `;
}

const { theme } = settings();
if (theme !== "auto") document.documentElement.dataset.theme = theme;
render(html`<${Reference} />`, document.body);
