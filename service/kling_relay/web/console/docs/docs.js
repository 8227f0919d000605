// The API, drawn from /openapi.json: every path with what it takes, what it answers, and a command to try it.
import { html, render, useEffect, useState } from "../lib/html.js";
import { settings } from "../lib/settings.js";
import { Code, Failure } from "../parts/ui.js";
import { Members, exampleOf, limits, typeOf } from "./schema.js";

const METHODS = ["post", "get", "patch", "delete"];

function operations(document) {
  const found = Object.entries(document.paths).flatMap(([path, methods]) => METHODS.filter((method) => methods[method]).map((method) => ({ method, path, ...methods[method] })));
  return document.tags.map((tag) => ({ ...tag, operations: found.filter((each) => each.tags[0] === tag.name) })).filter((tag) => tag.operations.length);
}

const contentOf = (body) => Object.entries(body?.content || {})[0] || [null, {}];

function curlOf({ method, path, requestBody, security, parameters }, document) {
  const [media, { schema } = {}] = contentOf(requestBody);
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  const needed = parameters.filter((each) => each.in === "query" && each.required).map((each) => `${each.name}=…`).join("&");
  const body = schema && media === "application/json" ? exampleOf(schema, document, "", true) : null;
  return [
    `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${location.origin}${filled}${needed ? `?${needed}` : ""}'`,
    security && "-H 'Authorization: Bearer YOUR-KEY'",
    body && "-H 'Content-Type: application/json'",
    body && `-d '${JSON.stringify(body, null, 2)}'`,
  ].filter(Boolean).join(" \\\n  ");
}

function Parameters({ of, document }) {
  if (!of.length) return null;
  return html`<h4>Parameters</h4><ul class="members">${of.map((each) => html`<li><div class="member"><code class="name">${each.name}</code>
      <span class="limit">${each.in}</span><span class="type">${typeOf(each.schema, document)}${each.schema.type === "array" ? ", with commas between" : ""}</span>
      ${each.required && html`<span class="needed">required</span>`}${limits(each.schema, document).map((limit) => html`<span class="limit">${limit}</span>`)}</div>
    ${each.description && html`<p>${each.description}</p>`}</li>`)}</ul>`;
}

function Answers({ of, document }) {
  return html`<h4>Answers</h4><ul class="answers">${Object.entries(of).map(([status, answer]) => {
    const [media, { schema } = {}] = contentOf(answer);
    const isGood = status.startsWith("2");
    return html`<li><details open=${isGood && Boolean(schema?.$ref)}><summary><span class=${`pill plain ${isGood ? "good" : ""}`}>${status}</span> ${answer.description}
        ${media && html`<span class="limit">${media}</span>`}</summary>${schema && html`<${Members} of=${schema} document=${document} />`}</details></li>`;
  })}</ul>`;
}

function Operation({ of, document, isHook }) {
  const [media, { schema } = {}] = contentOf(of.requestBody);
  const [, { schema: answer } = {}] = contentOf(of.responses[Object.keys(of.responses).find((status) => status.startsWith("2"))]);
  return html`<section class="operation" id=${of.operationId} aria-label=${of.summary}>
    <div class="about"><h3>${of.summary}</h3>
      <p class="path"><span class=${`method ${of.method}`}>${of.method.toUpperCase()}</span> <code>${of.path}</code></p>
      ${of["x-scope"] && html`<p class="hint">Needs a key with the scope <code class="inline">${of["x-scope"]}</code>.</p>`}
      <${Parameters} of=${of.parameters || []} document=${document} />
      ${schema && html`<h4>Body</h4>${schema.description && html`<p class="hint">${schema.description}</p>`}<${Members} of=${schema} document=${document} />`}
      <${Answers} of=${of.responses} document=${document} /></div>
    <div class="examples">${isHook ? html`<${Code} label="Example" text=${JSON.stringify(exampleOf(schema, document), null, 2)} />`
      : html`<${Code} label="curl" text=${curlOf(of, document)} />${answer?.$ref && html`<${Code} label="Answer" text=${JSON.stringify(exampleOf(answer, document), null, 2)} />`}`}</div>
  </section>`;
}

function Contents({ tags, wanted, onWanted }) {
  const fits = (each) => !wanted || `${each.summary} ${each.path} ${each.method}`.toLowerCase().includes(wanted.toLowerCase());
  return html`<aside class="contents"><a class="brand" href="/console"><img src="/console/icon.svg" alt="" />kling-relay</a>
    <input type="search" placeholder="Find a path" aria-label="Find a path" value=${wanted} onInput=${(event) => onWanted(event.target.value)} />
    <nav aria-label="Paths">${tags.map((tag) => { const shown = tag.operations.filter(fits); return shown.length > 0 && html`<h4>${tag.name}</h4><ul>
      ${shown.map((each) => html`<li><a href=${`#${each.operationId}`}><span class=${`method small ${each.method}`}>${each.method === "delete" ? "del" : each.method}</span><span>${each.summary}</span></a></li>`)}</ul>`; })}
      <h4>Webhooks</h4><ul><li><a href="#event"><span class="method small post">post</span><span>What a subscriber gets</span></a></li></ul></nav></aside>`;
}

function Reference() {
  const [document_, see] = useState(null);
  const [error, fail] = useState(null);
  const [wanted, want] = useState("");
  useEffect(() => { fetch("/openapi.json").then((response) => response.json()).then(see, fail); }, []);
  useEffect(() => { if (document_ && location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView(); }, [document_]);
  if (error) return html`<main class="reference"><${Failure} error=${error} /></main>`;
  if (!document_) return null;
  const tags = operations(document_);
  const hook = { ...document_.webhooks.event.post, method: "post", path: "your address" };
  return html`<${Contents} tags=${tags} wanted=${wanted} onWanted=${want} />
    <main class="reference"><header><h1>API reference</h1>${document_.info.description.trim().split("\n\n").map((text) => html`<p>${text.split("`").map((part, index) => (index % 2 ? html`<code class="inline">${part}</code>` : part))}</p>`)}
        <p><a href="/openapi.json" download="openapi.json">openapi.json</a> · <a href="/console">Console</a></p></header>
      ${tags.map((tag) => html`<section><h2 class="tag" id=${tag.name}>${tag.name}<span>${tag.description}</span></h2>
        ${tag.operations.map((each) => html`<${Operation} key=${each.operationId} of=${each} document=${document_} />`)}</section>`)}
      <section><h2 class="tag" id="Webhooks">Webhooks<span>What comes to a subscriber</span></h2><${Operation} of=${hook} document=${document_} isHook /></section></main>`;
}

const { theme } = settings();
if (theme !== "auto") document.documentElement.dataset.theme = theme;
render(html`<${Reference} />`, document.body);
