// The curl command that does what the form does. Pictures are read from a file, so that the command stays readable.
import { base, settings } from "./settings.js";
import { doorOf } from "./orders.js";

const quoted = (text) => text.replaceAll("'", "'\\''");

/** Return the command; `pictures` are names of files by field, `isSecret` keeps the key out of what is shown. */
export function curlOf(kind, order, pictures, { isSecret = false } = {}) {
  const marks = {};
  const shown = { ...order };
  for (const [field, picture] of Object.entries(pictures)) {
    if (!picture?.bytes) continue;
    marks[field] = `@@${field}@@`;
    shown[field] = marks[field];
  }
  let body = quoted(JSON.stringify(shown, null, 2));
  for (const [field, mark] of Object.entries(marks)) {
    body = body.replace(mark, `'"$(base64 -w0 '${quoted(pictures[field].name).replaceAll('"', "")}')"'`);
  }
  const key = settings().key ? (isSecret ? `${settings().key.slice(0, 4)}…` : settings().key) : "YOUR-KEY";
  return [
    `curl -X POST '${base()}/kling/v1/${doorOf(kind)}'`,
    `-H 'Authorization: Bearer ${key}'`,
    "-H 'Content-Type: application/json'",
    `-d '${body}'`,
  ].join(" \\\n  ");
}
