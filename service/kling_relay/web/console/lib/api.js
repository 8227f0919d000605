// Calls of the API: JSON in and out; every failure is an ApiError that says what happened and what to do.
import { base, settings } from "./settings.js";
import { t } from "./i18n.js";

const READ_SECONDS = 30;
// an order with pictures takes a while on a slow line
const WRITE_SECONDS = 120;
const MAX_PAGE = 200;

/** A failed call. `status` is 0 if there was no answer; `errors` are faults by field. */
export class ApiError extends Error {
  constructor({
    status,
    detail,
    code = null,
    type = "",
    errors = [],
    retryAfter = null,
    request = "",
    isWrite = false,
  }) {
    super(detail);
    Object.assign(this, { status, code, type, errors, retryAfter, request, isWrite });
  }

  /** Whether the same call may succeed a little later. */
  get isTemporary() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** What the user can do about it. */
  get advice() {
    if (this.status === 0 && this.isWrite) return t("It may have taken effect. Check before you try again.");
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

/**
 * Call the API and return its JSON, or null if the answer has none. Throws ApiError, also if no answer comes in time.
 * `connection` has the address and the key of another connection than that of the settings.
 */
export async function call(method, path, { body, query, headers, signal, connection = settings() } = {}) {
  const address = new URL(base(connection) + path);
  const isWrite = method !== "GET";
  const seconds = (isWrite ? WRITE_SECONDS : READ_SECONDS) + (query?.wait || 0);
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), seconds * 1000);
  for (const [name, value] of Object.entries(query || {})) {
    if (value !== undefined && value !== null && value !== "") address.searchParams.set(name, value);
  }
  try {
    const response = await fetch(address, {
      method,
      signal: signal ? AbortSignal.any([signal, timeout.signal]) : timeout.signal,
      cache: "no-store",
      headers: {
        ...(connection.key ? { Authorization: `Bearer ${connection.key}` } : {}),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.ok) return response.status === 204 ? null : await response.json();
    throw await refusal(response);
  } catch (error) {
    if (error instanceof ApiError || signal?.aborted) throw error;
    const detail = timeout.signal.aborted
      ? t("The service at {address} did not answer within {seconds} s.", { address: base(connection), seconds })
      : t("The service at {address} does not answer.", { address: base(connection) });
    throw new ApiError({ status: 0, detail, isWrite });
  } finally {
    clearTimeout(timer);
  }
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

/** Return the first `count` entries of a list as one page, or all if there are fewer. */
export async function list(path, query, count, signal) {
  let page = { data: [], next_cursor: null };
  let limit;
  let next;
  do {
    limit = Math.min(count - page.data.length, MAX_PAGE);
    next = await get(path, { ...query, limit, cursor: page.next_cursor }, { signal });
    page = { ...next, data: [...page.data, ...next.data] };
  } while (next.next_cursor && next.data.length === limit && page.data.length < count);
  return page;
}
