// Calls of the API: JSON in and out, every failure an ApiError that says what happened and what to do.
import { base, settings } from "./settings.js";
import { t } from "./words.js";

/** A call that failed. `status` 0 is: no answer came. `errors` are faults by field. */
export class ApiError extends Error {
  constructor({ status, detail, code = null, type = "", errors = [], retryAfter = null, request = "" }) {
    super(detail);
    Object.assign(this, { status, code, type, errors, retryAfter, request });
  }

  /** What the person in front of the screen can do about it. */
  get advice() {
    if (this.status === 0) return t("Check that the service runs, and its address in the settings.");
    if (this.status === 401) return t("Open the settings and enter a key. `kling-relay keys create NAME` makes one.");
    if (this.status === 402) return t("Raise the budget, or wait for its next day or month. Nothing was sent.");
    if (this.status === 403) return t("Use a key with the scope that this needs.");
    if (this.status === 404) return t("It may have been deleted, or belong to another client.");
    if (this.status === 409) return t("Use another external task id, or send the same order.");
    if (this.status === 429) return t("Wait {seconds} s and try again.", { seconds: this.retryAfter || 1 });
    if (this.status === 502) return t("The provider said this, not the service. The task's page shows what is known.");
    if (this.status >= 500) return t("Try again in a moment; if it stays, look at the service's log.");
    return "";
  }
}

/** Call the API and return its JSON (null where it has none). Throws ApiError. */
export async function call(method, path, { body, query, headers, signal } = {}) {
  const address = new URL(base() + path);
  for (const [name, value] of Object.entries(query || {})) {
    if (value !== undefined && value !== null && value !== "") address.searchParams.set(name, value);
  }
  let response;
  try {
    response = await fetch(address, {
      method,
      signal,
      cache: "no-store",
      headers: {
        ...(settings().key ? { Authorization: `Bearer ${settings().key}` } : {}),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ status: 0, detail: t("The service at {address} does not answer.", { address: base() }) });
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  throw await refusal(response);
}

/** Return the error that a response's refusal is, in Kling's members or as a problem. */
export async function refusal(response) {
  let said = {};
  try {
    said = await response.json();
  } catch { /* a proxy's page, perhaps */ }
  return new ApiError({
    status: response.status,
    detail: said.detail || said.message || said.title || t("The service answered {status}.", { status: response.status }),
    code: said.code ?? null,
    type: said.type || said.error?.type || "",
    errors: said.errors || [],
    retryAfter: Number(response.headers.get("Retry-After")) || null,
    request: said.request_id || response.headers.get("X-Request-Id") || "",
  });
}

export const get = (path, query, more = {}) => call("GET", path, { query, ...more });
export const post = (path, body = {}, more = {}) => call("POST", path, { body, ...more });
export const patch = (path, body) => call("PATCH", path, { body });
export const remove = (path) => call("DELETE", path);
