// A request as a curl command and as programs in Python, JavaScript and Go, to be copied and run as they are.
const inQuotes = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** Return a JSON value as a literal of Python, indented by `indent` spaces. */
function literal(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, indent + 4))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, indent + 4)}`);
  if (!items.length) return open + close;
  const lines = items.map((item) => `${" ".repeat(indent + 4)}${item},\n`).join("");
  return `${open}\n${lines}${" ".repeat(indent)}${close}`;
}

function curl({ method, url, headers, body, isStream }) {
  return [
    `curl ${isStream ? "-N " : ""}${method === "GET" ? "" : `-X ${method} `}${inQuotes(url)}`,
    ...Object.entries(headers).map(([name, value]) => `-H ${inQuotes(`${name}: ${value}`)}`),
    ...(body === null ? [] : [`-d ${inQuotes(body)}`]),
  ].join(" \\\n  ");
}

function python({ method, url, headers, body, isStream }) {
  const value = body === null ? undefined : parsed(body);
  const content = value === undefined ? `data=${JSON.stringify(body)}.encode()` : `json=${literal(value, 4)}`;
  const lines = [
    `    ${JSON.stringify(url)},`,
    ...(Object.keys(headers).length ? [`    headers=${literal(headers, 4)},`] : []),
    ...(body === null ? [] : [`    ${content},`]),
    ...(isStream ? ["    stream=True,"] : []),
  ];
  const print = isStream
    ? "for line in response.iter_lines():\n    print(line.decode())"
    : "print(response.status_code, response.text)";
  return `import requests

response = requests.${method.toLowerCase()}(
${lines.join("\n")}
)
response.raise_for_status()
${print}`;
}

function javascript({ method, url, headers, body, isStream }) {
  const value = body === null ? undefined : parsed(body);
  const content = value === undefined ? JSON.stringify(body) : `JSON.stringify(${JSON.stringify(value, null, 2)})`;
  const options = [
    ...(method === "GET" ? [] : [`method: "${method}",`]),
    ...(Object.keys(headers).length ? [`headers: ${JSON.stringify(headers, null, 2)},`] : []),
    ...(body === null ? [] : [`body: ${content},`]),
  ];
  const indented = options.map((option) => `  ${option.replaceAll("\n", "\n  ")}\n`).join("");
  const print = isStream
    ? "for await (const text of response.body.pipeThrough(new TextDecoderStream())) console.log(text);"
    : "console.log(response.status, await response.text());";
  return `const response = await fetch(${JSON.stringify(url)}${indented ? `, {\n${indented}}` : ""});
if (!response.ok) throw new Error(await response.text());
${print}`;
}

function go({ method, url, headers, body }) {
  const raw = body?.includes("`") ? JSON.stringify(body) : `\`${body}\``;
  const reader = body === null ? "nil" : `strings.NewReader(${raw})`;
  const set = Object.entries(headers).map(
    ([name, value]) => `\trequest.Header.Set(${JSON.stringify(name)}, ${JSON.stringify(value)})\n`,
  );
  const imports = ["io", "net/http", "os", ...(body === null ? [] : ["strings"])].map((name) => `\t"${name}"\n`);
  return `package main

import (
${imports.join("")})

func main() {
	request, err := http.NewRequest("${method}", ${JSON.stringify(url)}, ${reader})
	if err != nil {
		panic(err)
	}
${set.join("")}	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		panic(response.Status)
	}
	io.Copy(os.Stdout, response.Body)
}`;
}

/** Functions that write a request, by language; `body` is a text or null, `isStream` means an answer without an end. */
export const LANGUAGES = { curl, Python: python, JavaScript: javascript, Go: go };
