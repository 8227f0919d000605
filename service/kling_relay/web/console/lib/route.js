// Where we are stands behind the # of the address, so that every file is served from one place: #/tasks/ID?status=failed
import { useEffect, useState } from "./html.js";

function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

/** The route in force, as a hook: `parts` of the path and its `query`. */
export function useRoute() {
  const [route, see] = useState(read);
  useEffect(() => {
    const look = () => see(read());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  return route;
}

/** Return the link to a page; what is empty in `query` is left out. */
export function link(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Go to a page; `isSame` replaces the entry in the history, for filters. */
export function go(path, query, { isSame = false } = {}) {
  const address = link(path, query);
  if (isSame) {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = address;
  }
}
