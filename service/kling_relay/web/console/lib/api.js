// Calls of the API: JSON in and out; every failure is an ApiError that says what happened and what to do.
import { base, settings } from "./settings.js";
import { t } from "./i18n.js";

/** A failed call. `status` is 0 if there was no answer; `errors` are faults by field. */
export class ApiError extends Error {
  constructor({ status, detail, code = null, type = "", errors = [], retryAfter = null, request = "" }) {
    super(detail);
    Object.assign(this, { status, code, type, errors, retryAfter, request });
  }

  /** What the user can do about it. */
  get advice() {
    if (this.status === 0) return t("Check that the service is running and that its URL in the settings is right.");
    if (this.status === 401) return t("Enter an API key in the settings. `kling-relay keys create NAME` creates one.");
    if (this.status === 402) return t("The order was not sent. Raise the budget, or wait for its next period.");
    if (this.status === 403) return t("Use a key with the required scope.");
    if (this.status === 404) return t("It may have been deleted, or belongs to another client.");
    if (this.status === 409) return t("Use another external task ID, or send the same order.");
    if (this.status === 429) return t("Wait {seconds} s and try again.", { seconds: this.retryAfter || 1 });
    if (this.status === 502) return t("This is the provider's answer. See the task's page for details.");
    if (this.status >= 500) return t("Try again in a moment. If it persists, check the service's log.");
    return "";
  }
}

/** Call the API and return its JSON, or null if the answer has none. Throws ApiError. */
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

/** Return the ApiError for a refusal, written as Kling does or as a problem document. */
export async function refusal(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    /* not JSON: perhaps a proxy's error page */
  }
  return new ApiError({
    status: response.status,
    detail:
      body.detail || body.message || body.title || t("The service answered {status}.", { status: response.status }),
    code: body.code ?? null,
    type: body.type || body.error?.type || "",
    errors: body.errors || [],
    retryAfter: Number(response.headers.get("Retry-After")) || null,
    request: body.request_id || response.headers.get("X-Request-Id") || "",
  });
}

export const get = (path, query, more = {}) => call("GET", path, { query, ...more });
export const post = (path, body = {}, more = {}) => call("POST", path, { body, ...more });
export const patch = (path, body) => call("PATCH", path, { body });
export const remove = (path) => call("DELETE", path);
