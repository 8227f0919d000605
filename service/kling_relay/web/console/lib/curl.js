// The curl command for an order. Pictures are read from a file, so that the command stays readable.
import { base, settings } from "./settings.js";
import { operationOf } from "./orders.js";

const inQuotes = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const inDocument = (text) => text.replace(/[\\$`]/g, "\\$&");

/** Return the body as an argument, or as a document on stdin if it has pictures, which are too long for an argument. */
function bodyOf(order, pictures) {
  const files = Object.entries(pictures).filter(([field, picture]) => picture?.bytes && field in order);
  if (!files.length) return `-d ${inQuotes(JSON.stringify(order, null, 2))}`;
  const marked = { ...order, ...Object.fromEntries(files.map(([field]) => [field, `@@${field}@@`])) };
  const text = files.reduce(
    (document, [field, { name }]) =>
      document.replace(`@@${field}@@`, () => `$(base64 < ${inQuotes(name)} | tr -d '\\n')`),
    inDocument(JSON.stringify(marked, null, 2)),
  );
  return `-d @- <<END\n${text}\nEND\n`;
}

/** Return the command; `pictures` are the chosen ones by field; `isSecret` shortens the key for display. */
export function curlOf(kind, order, pictures, { isSecret = false } = {}) {
  const key = settings().key ? (isSecret ? `${settings().key.slice(0, 4)}…` : settings().key) : "YOUR-KEY";
  return [
    `curl -X POST '${base()}/kling/v1/${operationOf(kind)}'`,
    `-H 'Authorization: Bearer ${key}'`,
    "-H 'Content-Type: application/json'",
    bodyOf(order, pictures),
  ].join(" \\\n  ");
}
