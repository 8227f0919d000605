// The route is the part of the address after #, so that one file serves every page: #/tasks/ID?status=failed
import { useEffect, useState } from "./html.js";
import { visit } from "./memory.js";

/** Decode a part of an address; a malformed one stays as it is. */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    parts: path.split("/").filter(Boolean).map(decoded),
    query: new URLSearchParams(query),
    entry: visit(),
  };
}

/** The current route, as a hook: the `parts` of its path, its `query`, and the `entry` of the history. */
export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const update = () => setRoute(read());
    addEventListener("hashchange", update);
    return () => removeEventListener("hashchange", update);
  }, []);
  return route;
}

/** Return the link to a page, without the empty values of `query`. */
export function link(path, query = {}) {
  const entries = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(entries).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Go to a page; `isSame` replaces the entry in the history, as filters do. */
export function go(path, query, { isSame = false } = {}) {
  const address = link(path, query);
  if (isSame) {
    history.replaceState(history.state, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = address;
  }
}
